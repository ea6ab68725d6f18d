"""Where a checkpoint's bytes come from: one module for each source of files."""
