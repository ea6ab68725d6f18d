"""A model as one HTML page: facts of a plan, a run, a file or a verification, drawn by templates without any script."""
