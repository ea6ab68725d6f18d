"""Small checkpoints with the structure of real ones and made-up weights, the same bytes on every machine."""
