"""The history: every run in a database that can be built again from the results folders."""
