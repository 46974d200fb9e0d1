"""The night: new builds are locked, what is not answered yet is run, failures are repeated, and news are told."""
