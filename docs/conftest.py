"""What pytest shall not take for tests: settings of the build, and what it made."""

collect_ignore = ["conf.py", "_build", "auto_examples", "generated"]
