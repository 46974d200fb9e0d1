"""Kernel sources: each module has one value of ``source:``, as a noun and as the keys an entry may have."""
