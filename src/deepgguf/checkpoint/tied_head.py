"""An output matrix beside the embedding to which config.json ties it: the same weights, or a head of its own.

Transformers 5 ties the two only where they are equal (modeling_utils.py, tie_weights); transformers 4 believes
config.json.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from deepgguf.encodings.opaque import Opaque
from deepgguf.executors.buffers import Buffers
from deepgguf.files.files import ReadByNumber
from deepgguf.tensors.source_tensor import SourceTensor

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"

_SPAN_WEIGHTS = 1 << 19
_SPANS = 16  # so many megabytes of each, at most, are read for a plan; training changes every row of a head


def head_differs(tensors: Mapping[str, SourceTensor], read: ReadByNumber, *, whole: bool = False) -> bool:
    """Whether there are both and they differ: in any row if `whole`, else in rows all over a large matrix.

    Weights of different forms are compared as numbers. What cannot be read as numbers differs from nothing. Raises what
    `read` raises.
    """
    embedding, head = tensors.get(EMBEDDING), tensors.get(HEAD)
    if embedding is None or head is None or Opaque in (type(embedding.encoding), type(head.encoding)):
        return False
    if embedding.shape != head.shape or len(head.shape) != 2:
        return True
    spans = _spans(*head.shape) if whole else _some(list(_spans(*head.shape)))
    return any(not _same_rows(embedding, head, first, rows, read) for first, rows in spans)


def _spans(rows: int, cols: int) -> Iterator[tuple[int, int]]:
    """(first row, how many): all rows, a megabyte or two at a time."""
    step = max(1, _SPAN_WEIGHTS // cols)
    return ((first, min(step, rows - first)) for first in range(0, rows, step))


def _some(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """At most _SPANS of them, at equal distances, the first and the last among them."""
    last = len(spans) - 1
    return [spans[number] for number in sorted({last * i // (_SPANS - 1) for i in range(_SPANS)})]


def _same_rows(one: SourceTensor, other: SourceTensor, first: int, rows: int, read: ReadByNumber) -> bool:
    cols = one.shape[1]
    these, those = (tensor.read_rows(cols, first, rows, read, Buffers()) for tensor in (one, other))
    if one.encoding == other.encoding:
        return all(np.array_equal(*blobs) for blobs in zip(these.blobs, those.blobs, strict=True))
    return np.array_equal(one.encoding.values(these, Buffers()), other.encoding.values(those, Buffers()))
