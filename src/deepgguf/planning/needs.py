"""What a plan will need: memory of the process, and room on the disk."""

from deepgguf.checkpoint.fp8 import WEIGHT_DTYPE
from deepgguf.formats.gguf.types import PLAIN, Value, ValueType, row_bytes
from deepgguf.planning.pieces import cut
from deepgguf.planning.schema import Plan, PlannedTensor

# Resident bytes of the interpreter with NumPy and what is imported for a conversion, measured on CPython 3.11.
_PROCESS = 49 << 20
# Bytes per source tensor (catalog, roles, parts), per text and per number in a key's array (a token with its share of
# tokenizer.json and of the header).
_PER_SOURCE = 2300
_PER_TEXT = 250
_PER_NUMBER = 45
_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, WEIGHT_DTYPE: 1}


def memory_needed(plan: Plan, jobs: int) -> int:
    """Peak resident memory of `convert` with `jobs` threads, in bytes: it depends on jobs, hardly on the model."""
    buffers = max((worker_bytes(t, plan) for file in plan.files for t in file.tensors), default=0)
    parts = sum(len(t.parts) for file in plan.files for t in file.tensors)
    arrays = sum(_array_bytes(value) for file in plan.files for value in file.keys.values())
    return _PROCESS + jobs * buffers + parts * _PER_SOURCE + arrays


def worker_bytes(tensor: PlannedTensor, plan: Plan) -> int:
    """Bytes of the buffers that one thread fills for a piece of `tensor` (see execute.piece)."""
    how, rows, type = cut(tensor, plan.block[0], plan.piece_weights), tensor.rows, tensor.info.type
    weights = min(how.groups, rows.groups) * min(how.rows, rows.taken) * rows.cols
    source, out = weights * _WIDTHS[tensor.dtype], weights // rows.row_length * row_bytes(type, rows.row_length)
    if type in PLAIN:
        return source + out * (2 if rows.transposed else 1)
    floats = 4 * weights * (2 if rows.transposed else 1)
    return source + floats + (2 * weights if tensor.dtype == WEIGHT_DTYPE else 0) + out


def _array_bytes(value: Value) -> int:
    length = len(value.value) if isinstance(value.value, list | tuple) else 0
    return length * (_PER_TEXT if value.item_type is ValueType.STRING else _PER_NUMBER)
