"""A piece from whatever form its source has."""

import numpy as np
import pytest

from deepgguf.encodings import PLAIN, WRITTEN, encoding_of
from deepgguf.encodings.encoding import Bytes, Encoding, Floats, Stored
from deepgguf.encodings.fp8 import Fp8
from deepgguf.encodings.quantized import Quantized
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType, TensorInfo, row_bytes
from deepgguf.planning.numbering import Numbering
from deepgguf.planning.schema import PlannedFile, PlannedTensor
from deepgguf.planning.windows import Share
from deepgguf.run.piece import make_piece
from deepgguf.tensors.source_tensor import Blob, SourceTensor
from deepgguf.tensors.view import View

ROWS, COLS = 24, 512
WEIGHTS = np.random.default_rng(0).normal(0, 0.02, ROWS * COLS).astype(np.float32)
QUANTIZED = sorted(WRITTEN - PLAIN)


def blocks(type: GGMLType, weights: Floats = WEIGHTS, cols: int = COLS) -> Bytes:
    """`weights` in blocks of that type."""
    encoding, out = encoding_of(type), np.empty(weights.size // cols * row_bytes(type, cols), np.uint8)
    assert isinstance(encoding, Quantized)
    importance = np.ones(cols, np.float32) if encoding.impossible_without_importance else None
    encoding.encode(weights, cols, importance, out)
    return out


def made(encoding: Encoding, data: list[Bytes], type: GGMLType, rows: View) -> bytes:
    """What becomes of ROWS x COLS weights stored as `encoding`, each of the blobs `data` being a file, in small pieces."""
    blobs = tuple(Blob(file, 0, blob.size) for file, blob in enumerate(data))
    shape = (rows.elements // rows.row_length, rows.row_length)
    info = TensorInfo("x", type, shape, 0, shape[0] * row_bytes(type, shape[1]))
    tensor = PlannedTensor(info, rows, (SourceTensor("s", (ROWS, COLS), encoding, blobs),), type)
    numbering = Numbering(PlannedFile("x", "text", {}, (tensor,), 0, info.nbytes), 3 * COLS)
    pieces = tuple(numbering.piece(numbering.place(number)) for number in range(numbering.count))
    share = Share(0, 0, 0, tensor.output, tensor.sources[0], pieces)

    def read(file: int, offset: int, buffer: Bytes) -> None:
        buffer[:] = data[file][offset : offset + buffer.size]

    buffers = Buffers()
    return b"".join(make_piece(share, piece, read, buffers).out.tobytes() for piece in pieces)


@pytest.mark.parametrize(
    "rows", [View.whole((ROWS, COLS)), View.of_heads((ROWS, COLS), 4, 1, 5)], ids=["whole", "split"]
)
@pytest.mark.parametrize("type", QUANTIZED, ids=lambda t: t.name)
def test_blocks_that_stay_as_they_are_are_copied_and_no_kernel_is_called(type, rows, monkeypatch):
    data = blocks(type)
    expected = data.reshape(rows.groups, rows.group_rows, -1)[:, rows.start : rows.stop].tobytes()
    for kernel in ("cast", "fp8", "quantize"):
        monkeypatch.delattr(f"deepgguf.kernels.{kernel}")
    assert made(encoding_of(type), [data], type, rows) == expected


@pytest.mark.parametrize("type", QUANTIZED, ids=lambda t: t.name)
def test_blocks_become_the_numbers_that_they_stand_for(type):
    data, encoding = blocks(type), encoding_of(type)
    values = encoding.values(Stored("s", 0, ROWS, COLS, (data,)), Buffers())
    assert made(encoding, [data], GGMLType.F32, View.whole((ROWS, COLS))) == values.tobytes()
    assert (
        made(encoding, [data], GGMLType.Q6_K, View.whole((ROWS, COLS)))
        == (data if type is GGMLType.Q6_K else blocks(GGMLType.Q6_K, values.reshape(-1))).tobytes()
    )


def test_blocks_that_are_transposed_are_made_anew():
    rows = View.of_heads((ROWS, COLS), 1, 0, 24, transposed=True)
    turned = made(encoding_of(GGMLType.Q8_0), [blocks(GGMLType.Q8_0)], GGMLType.F32, rows)
    values = encoding_of(GGMLType.Q8_0).values(Stored("s", 0, ROWS, COLS, (blocks(GGMLType.Q8_0),)), Buffers())
    assert turned == values.T.tobytes()


@pytest.mark.parametrize("block", [(ROWS, COLS), (1, COLS), (7, 100)], ids=str)
def test_fp8_is_rounded_to_bf16_before_it_is_quantized(block):
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 0x7F, ROWS * COLS).astype(np.uint8)
    scales = rng.uniform(1e-4, 1, (-(-ROWS // block[0]), -(-COLS // block[1]))).astype(np.float32)
    data = [codes, scales.reshape(-1).view(np.uint8)]
    rounded = np.frombuffer(made(Fp8(block, "F32"), data, GGMLType.BF16, View.whole((ROWS, COLS))), np.uint8)
    expected = made(encoding_of(GGMLType.BF16), [rounded], GGMLType.Q4_K, View.whole((ROWS, COLS)))
    assert made(Fp8(block, "F32"), data, GGMLType.Q4_K, View.whole((ROWS, COLS))) == expected
