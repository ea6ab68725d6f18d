"""The formats that files are in: safetensors, JSON, GGUF. No model is known here."""
