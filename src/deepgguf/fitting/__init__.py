"""Types for a budget of bytes: their errors measured on samples, the least chosen, and a recipe that says so."""
