"""How a converted file is run in Ollama."""


def run_command(files: tuple[str, ...]) -> str:
    """Registers the file under a name of its own and runs it."""
    name = files[0].rpartition("/")[2].removesuffix(".gguf").lower()
    return f"echo 'FROM {files[0]}' > Modelfile && ollama create {name} -f Modelfile && ollama run {name}"
