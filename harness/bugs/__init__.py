"""Bugs that really happened in the sealing code and in what it rests on, and what of ours notices each."""
