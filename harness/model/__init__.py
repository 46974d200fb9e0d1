"""Nouns that every room knows, and what is fixed about them."""
