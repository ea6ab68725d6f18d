"""What llama.cpp's files share: the general keys of a file, made from the model card."""

from deepgguf.checkpoint.model_card import general_keys
from deepgguf.formats.gguf.types import Value
from deepgguf.layouts.layout import KeyFacts
from deepgguf.layouts.values import present, string, uint32


def llamacpp_general(facts: KeyFacts, architecture: str, kind: str) -> dict[str, Value]:
    """Architecture and type ("model", "mmproj"), and what the card says of name, size, license, origin."""
    own = {"architecture": string(architecture), "type": string(kind), "quantization_version": uint32(2)}
    return general_keys(facts.card, facts.name, facts.parameters, facts.model_id) | present(own, "general.")


def llamacpp_run(files: tuple[str, ...]) -> str:
    """llama.cpp's chat on the terminal; the mmproj, if there is one, comes second."""
    mmproj = next((file for file in files[1:] if "mmproj-" in file), None)
    return f"llama-mtmd-cli -m {files[0]} --mmproj {mmproj}" if mmproj else f"llama-cli -m {files[0]}"
