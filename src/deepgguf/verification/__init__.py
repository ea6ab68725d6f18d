"""Proof that a file holds what its source makes, by code that shares nothing with what wrote it."""
