"""Ways to carry out tasks that may run anywhere, in any order: one module for each way."""
