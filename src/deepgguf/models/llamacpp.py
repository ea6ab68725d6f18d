"""What all files for llama.cpp share: types, and the general keys made from the model card."""

from collections.abc import Callable, Mapping

from deepgguf.checkpoint.model_card import general_keys
from deepgguf.choices import FileKind, Mtp
from deepgguf.formats.gguf.types import GGMLType, Value
from deepgguf.models.family import C, KeyFacts, Target, TargetFile
from deepgguf.models.sampling_keys import sampling_keys
from deepgguf.models.storage import (
    ALWAYS_F32,
    BF16,
    F16,
    F32,
    FROM_ANY_TO_F32,
    I32,
    IDS,
    MATRIX,
    PACKED_FILE_TYPES,
    PATCH,
)
from deepgguf.models.values import present, string, uint32
from deepgguf.recipes.choice import NO_EXCEPTIONS, Exceptions

# conversion/base.py, prepare_tensors.
_PLAIN: Mapping[str, Mapping[GGMLType, GGMLType]] = {
    ALWAYS_F32: FROM_ANY_TO_F32,
    MATRIX: {BF16: BF16, F16: F16, F32: F32},
    PATCH: {BF16: F32, F16: F16, F32: F32},
    IDS: {I32: I32},
}
# llama.h, enum llama_ftype.
_FILE_TYPES = {F32: 0, F16: 1, BF16: 32, **PACKED_FILE_TYPES}


def llamacpp_target(
    files: Mapping[FileKind, TargetFile[C]],
    limits: Callable[[C], tuple[str, ...]] = lambda config: (),
    exceptions: Exceptions = NO_EXCEPTIONS,
    mtp: tuple[Mtp, ...] = ("drop",),
) -> Target[C]:
    """A target whose files are run by llama.cpp."""
    return Target(files, _PLAIN, _FILE_TYPES, exceptions, limits, mtp)


def llamacpp_general(facts: KeyFacts, kind: str) -> dict[str, Value]:
    """Architecture and type ("model", "mmproj"); name, size, license and origin as the card has them; how to sample."""
    own = {"architecture": string(facts.architecture), "type": string(kind), "quantization_version": uint32(2)}
    said = facts.checkpoint
    card = general_keys(said.card, said.name, facts.parameters, said.model_id)
    return card | sampling_keys(said.generation) | present(own, "general.")
