"""Recipes: which type every tensor gets. Pure, and for every recipe what llama-quantize decides."""
