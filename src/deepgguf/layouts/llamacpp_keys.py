"""What llama.cpp's files share: the general keys of a file, made from the model card."""

from deepgguf.checkpoint.model_card import general_keys
from deepgguf.gguf.types import Value
from deepgguf.layouts.layout import KeyFacts
from deepgguf.layouts.values import present, string, uint32


def llamacpp_general(facts: KeyFacts, architecture: str, kind: str) -> dict[str, Value]:
    """Architecture and type ("model", "mmproj"), and what the card says of name, size, license, origin."""
    own = {"architecture": string(architecture), "type": string(kind), "quantization_version": uint32(2)}
    return general_keys(facts.card, facts.name, facts.parameters) | present(own, "general.")


def llamacpp_run(files: tuple[str, ...]) -> str:
    """llama.cpp's chat on the terminal; the mmproj, if there is one, comes second."""
    mmproj = f" --mmproj {files[1]}" if len(files) > 1 and "mmproj" in files[1] else ""
    return f"llama-{'mtmd-cli' if mmproj else 'cli'} -m {files[0]}{mmproj}"
