"""Cells being run: pools, the worker of one cell, its payload's stream, and the record that grows meanwhile."""
