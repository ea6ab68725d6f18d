"""The public functions: paths and choices in, plans, reports and descriptions out.

    output, settings   where files go; how a run goes
    source, ollama     what is opened; `import_to_ollama`
    planned            `Plan`, with `run` and `to_ollama`; `run_together`
    conversion         `plan`, `plan_several`, `plan_every_type`, `convert`: of checkpoints
    quantization       `plan_quantize`, `plan_quantize_several`, `quantize`: of GGUF files
    gguf_files         `inspect`, `doctor`, `merge`, `split`, `patch`, `undo_patch`
    proof              `verify`, `compare`, `check_parts`
    samples            `sample`

A line imports those above it at most. Callers have all of it from `deepgguf`, which imports what is used.
"""
