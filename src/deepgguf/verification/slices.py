"""A tensor in slices of about a megabyte, each beside the source rows that it comes from."""

from collections.abc import Iterator
from math import prod

import msgspec

from deepgguf.architectures.architecture import Model
from deepgguf.formats.gguf.types import PLAIN, row_bytes
from deepgguf.verification.counterparts import Counterpart

# Weights of a slice. Comparing bits is a few long calls for each: shorter ones keep two threads waiting for each other.
# Bounds take many more arrays, which are to stay in the cache.
EXACT_WEIGHTS = 1 << 19
BOUNDED_WEIGHTS = 1 << 18


class Slice(msgspec.Struct, frozen=True, gc=False):
    """Rows [source_row, source_row + rows) of the matrix `sources[part]`, of `cols` weights each.

    In the tensor they are the bytes [offset, offset + nbytes), rows from `row` of part `part` (an expert) and `head`
    (-1 where heads do not matter); if `transposed` they are its columns.
    """

    part: int
    head: int
    row: int
    source_row: int
    rows: int
    cols: int
    transposed: bool
    offset: int
    nbytes: int


def slices(pair: Counterpart, model: Model) -> Iterator[Slice]:
    """All slices of a tensor, in the order of its bytes."""
    if pair.arrangement == "whole":
        return _whole(pair)
    c = model.language
    k_b = pair.arrangement == "k_b"
    return _heads(pair, c.qk_nope_head_dim, c.v_head_dim, k_b=k_b)


def _whole(pair: Counterpart) -> Iterator[Slice]:
    shape, type = pair.sources[0].shape, pair.tensor.type
    rows, cols = prod(shape[:-1]), shape[-1]
    per_row = row_bytes(type, cols)
    step = max(1, (EXACT_WEIGHTS if type in PLAIN else BOUNDED_WEIGHTS) // cols)
    for part in range(len(pair.sources)):
        for row in range(0, rows, step):
            count = min(step, rows - row)
            offset = (part * rows + row) * per_row
            yield Slice(part, -1, row, row, count, cols, False, offset, count * per_row)


def _heads(pair: Counterpart, nope: int, value: int, *, k_b: bool) -> Iterator[Slice]:
    """kv_b has for every head its `nope` rows of keys, then its `value` rows of values."""
    rank = pair.sources[0].shape[1]
    heads = pair.tensor.shape[0]
    rows = nope if k_b else value
    nbytes = rank * row_bytes(pair.tensor.type, nope) if k_b else value * row_bytes(pair.tensor.type, rank)
    for head in range(heads):
        source_row = head * (nope + value) + (0 if k_b else nope)
        yield Slice(0, head, 0, source_row, rows, rank, k_b, head * nbytes, nbytes)
