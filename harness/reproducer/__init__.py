"""A probe as a C program of its own, for people without the harness."""
