"""The model card of a folder of GGUF files: README.md as the Hugging Face Hub reads it."""
