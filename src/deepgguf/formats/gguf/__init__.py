"""The GGUF container, version 3, with no knowledge of models.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""
