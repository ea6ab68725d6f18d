"""From GGUF files to a model that `ollama run` starts, by way of the store on this machine or of a server's API."""
