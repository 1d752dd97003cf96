"""What the process is: devices, random states, memory allocation, locks, warnings."""
