"""Stored forms of weights: one module for each, with an `ENCODING` if it is one of GGUF's types."""
