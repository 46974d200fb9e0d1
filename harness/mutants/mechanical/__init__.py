"""Mutants that nobody chose: every small change of the code that seals, in any tree."""
