"""What an importance matrix has for a tensor: the entry of its name, however it is spelled and cut, or that of another
tensor that has the same input.
"""

from collections.abc import Iterator
from math import prod

import msgspec

from deepgguf.checkpoint.importance import MEAN, ImportanceEntry, ImportanceMatrix, TensorImportance
from deepgguf.encodings import encoding_of
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.models.table import Output
from deepgguf.tensors.view import Shape

# What ggml calls a tensor that an engine sees in another shape (ggml.c, ggml_reshape_3d, ggml_view_3d): ik_llama.cpp
# multiplies by attn_k_b so, and its llama-imatrix takes the name as it is.
_SPELLINGS = ("{}", "{} (reshaped)", "{} (view)")


class Served(msgspec.Struct, frozen=True):
    """How many values a matrix has for a tensor, 0 if none that may be used; and how they serve it, if they fit."""

    size: int = 0
    importance: TensorImportance | None = None


def importance_of(output: Output, shape: Shape, matrix: ImportanceMatrix) -> Served:
    """What `matrix` has for the tensor `output` of row-major `shape`.

    Its own entry, or one for each of its experts, if there are any data in it; else those of a tensor with the same
    input; else its own without data, by which every column counts equally. Nothing for a tensor that the matrix is not
    to be used for.
    """
    if not matrix.filter.admits(output.name):
        return Served()
    length, matrices = shape[-1], prod(shape[:-2])
    own = next(_entries(output.name, matrix), None)
    fitting = _fit(own, length, matrices, shared=output.name in output.same_input) if own else None
    candidates = [fitting, _of_experts(output.name, length, matrices, matrix)]
    for name in output.same_input:
        candidates += [_fit(entry, length, matrices, shared=True) for entry in _entries(name, matrix)]
    found = next((one for one in candidates if one and any(one.counts)), fitting)
    if found:
        return Served(length * matrices, found)
    if own is None or (output.view.groups > 1 and own.size == length):  # heads were counted as one, or only the first
        return Served()
    return Served(own.size)


def weights_by(served: Served, type: GGMLType) -> TensorImportance | None:
    """What a tensor is quantized to `type` by: what is no more than near to it, a mean, only if the type needs some.

    The others have equal weights there, as llama-quantize gives them.
    """
    found, encoding = served.importance, encoding_of(type)
    if found and isinstance(encoding, Quantized) and encoding.needs_importance:
        return found.filled()
    return None if found and found.averaged else found


def _entries(name: str, matrix: ImportanceMatrix) -> Iterator[ImportanceEntry]:
    spelled = (spelling.format(name) for spelling in _SPELLINGS)
    return (matrix.entries[each] for each in spelled if each in matrix.entries)


def _fit(entry: ImportanceEntry, length: int, matrices: int, *, shared: bool) -> TensorImportance | None:
    """The entry for so many matrices of so long rows; `shared`, if all of them, and those of the entry, have one input.

    Then one run serves every matrix, and the mean of many serves one.
    """
    found = entry.of_rows(length)
    if found is None or len(found.runs) == matrices:
        return found
    if shared and len(found.runs) == 1:
        return msgspec.structs.replace(found, runs=(0,) * matrices)
    if shared and matrices == 1:
        return msgspec.structs.replace(found, runs=(MEAN,))
    return None


def _of_experts(name: str, length: int, matrices: int, matrix: ImportanceMatrix) -> TensorImportance | None:
    """One entry for each expert, as it was before llama.cpp stacked them: blk.1.ffn_up.0.weight."""
    if "_exps." not in name:
        return None
    names = [name.replace("_exps.", f".{expert}.") for expert in range(matrices)]
    found = [matrix.entries[each].of_rows(length) if each in matrix.entries else None for each in names]
    runs = [one if one and len(one.runs) == 1 else None for one in found]
    if not any(runs):
        return None
    offsets = tuple(run.offsets[0] if run else 0 for run in runs)
    counts = tuple(run.counts[0] if run else 0 for run in runs)
    blank = tuple(i for i, run in enumerate(runs) if run is None or run.blank)
    return TensorImportance(name, length, offsets, counts, tuple(range(matrices)), blank)
