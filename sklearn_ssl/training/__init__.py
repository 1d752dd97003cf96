"""Training loop: objectives, optimizers, schedules, time limits and diagnostics."""
