"""Plan to files: one path for every piece, read, transform, write; knows no model."""
