"""What a tensor is on its way from the checkpoint into a file: where its bytes lie, and what an output takes of it."""
