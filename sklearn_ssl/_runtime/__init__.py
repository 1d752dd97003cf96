"""Process-wide state: devices, random states, memory allocation, locks, warnings."""
