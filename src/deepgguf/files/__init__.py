"""Where bytes come from, and what stands in for a file that is not there."""
