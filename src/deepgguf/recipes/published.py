"""Every tensor's type as a published GGUF file has it, as a recipe."""

from collections.abc import Sequence

from deepgguf.encodings import PLAIN
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import FileType, GGMLType, GGUFHeader
from deepgguf.recipes.choice import allows_quantization
from deepgguf.recipes.recipe import RECIPES
from deepgguf.recipes.recipe_file import RecipeEntry, RecipeFile, component_of, layers_of
from deepgguf.recipes.tensor import TensorToType

_NO_OTHER = "q8_0"  # for what a file does not have that names no mixture


def recipe_of(headers: Sequence[GGUFHeader], name: str) -> RecipeFile:
    """The recipe by which tensors get the types that they have in the file called `name`.

    Its base, for tensors that the file does not have, is the mixture that the file is called by (`general.file_type`).
    UsageError if nothing of it is quantized, or a type is one that only forks of ggml have.
    """
    for header in headers:
        if header.fork_tensors:
            first = header.fork_tensors[0]
            found = f"{first.name} is {first.type}, which only a fork of ggml has"
            raise UsageError(name, found, "name a file for llama.cpp")
    layers: dict[tuple[str, GGMLType], list[int]] = {}
    for tensor in (tensor for header in headers for tensor in header.tensors):
        if allows_quantization(TensorToType(tensor.name, tensor.shape, tensor.type)):
            component, layer = component_of(tensor.name)
            layers.setdefault((component, tensor.type), []).append(layer)
    if PLAIN.issuperset(type for _, type in layers):
        raise UsageError(name, "nothing of it is quantized", "choose a `type` instead")
    entries = (
        RecipeEntry((component,), layers_of(numbers) if numbers[0] >= 0 else (), type, where=name)
        for (component, type), numbers in layers.items()
    )
    return RecipeFile(_base(headers[0]), tuple(entries), f"the types of {name}")


def _base(header: GGUFHeader) -> str:
    said = header.keys.get("general.file_type")
    names = {int(number): number.name.lower() for number in FileType}
    named = names.get(said.value, "") if said is not None and isinstance(said.value, int) else ""
    return named if named in RECIPES else _NO_OTHER
