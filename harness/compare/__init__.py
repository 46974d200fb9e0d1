"""Runs held against each other: which cells stand against which, what changed, and how that is put into words."""
