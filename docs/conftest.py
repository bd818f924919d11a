"""The examples on the pages are tests; scripts, and what Sphinx writes, are not."""

collect_ignore_glob = ["*.py"]
collect_ignore = ["_build", "_generated", "api", "auto_examples"]
