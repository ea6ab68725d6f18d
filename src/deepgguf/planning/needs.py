"""What a plan will need: memory of the process, and room on the disk."""

from deepgguf.encodings import encoding_of
from deepgguf.encodings.plain import Plain
from deepgguf.formats.gguf.types import GGMLType, Value, ValueType, block_of
from deepgguf.planning.pieces import Piece, cut, piece_at, runs
from deepgguf.planning.schema import Plan, PlannedTensor

# Resident bytes of the interpreter with NumPy and what is imported for a conversion, measured on CPython 3.11.
_PROCESS = 49 << 20
# Bytes per source tensor (catalog, roles, plan), per text and per number in a key's array (a token with its share of
# tokenizer.json and of the header).
_PER_SOURCE = 2300
_PER_TEXT = 250
_PER_NUMBER = 45


def memory_needed(plan: Plan, jobs: int) -> int:
    """Peak resident memory of `convert` with `jobs` threads, in bytes: it depends on jobs, hardly on the model."""
    buffers = max((_worker_bytes(t, plan.piece_weights) for file in plan.files for t in file.tensors), default=0)
    sources = sum(len(t.sources) for file in plan.files for t in file.tensors)
    arrays = sum(_array_bytes(value) for file in plan.files for value in file.keys.values())
    return _PROCESS + jobs * buffers + sources * _PER_SOURCE + arrays


def _worker_bytes(tensor: PlannedTensor, piece_weights: int) -> int:
    """Bytes of the buffers that one thread fills for a piece of `tensor`; the first is the largest."""
    return sum(buffer_sizes(tensor, piece_at(tensor, cut(tensor, piece_weights), 0)).values())


def buffer_sizes(tensor: PlannedTensor, piece: Piece) -> dict[str, int]:
    """Bytes of every buffer that `run.piece.make_piece` fills to make `piece`, by name.

    `out` is the piece itself, `blob N` what is read of a source's blob number N for one run of rows.
    """
    source, target = tensor.sources[piece.part].encoding, encoding_of(tensor.info.type)
    rows = tensor.rows
    read = [source.ranges(rows.cols, first, count) for first, count in runs(rows, piece)]
    sizes = {f"blob {i}": max(r.nbytes for r in ranges) for i, ranges in enumerate(zip(*read, strict=True))}
    sizes["out"] = piece.nbytes
    if isinstance(target, Plain):
        return sizes | {"turned": piece.nbytes} if rows.transposed else sizes
    if not rows.transposed and target.repacks(source):
        return {"out": piece.nbytes}
    weights = piece.groups * piece.rows * rows.cols
    if source.plain not in (source.type, GGMLType.F32):
        sizes["rounded"] = weights * block_of(source.plain).nbytes
    sizes["floats"] = 4 * weights
    return sizes | {"turned": 4 * weights} if rows.transposed else sizes


def _array_bytes(value: Value) -> int:
    length = len(value.value) if isinstance(value.value, list | tuple) else 0
    return length * (_PER_TEXT if value.item_type is ValueType.STRING else _PER_NUMBER)
