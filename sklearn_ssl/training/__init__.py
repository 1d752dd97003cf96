"""The training loop: objectives, the net that steps, schedules, and what is watched."""
