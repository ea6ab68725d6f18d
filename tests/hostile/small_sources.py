"""GGUF files of a few kilobytes, as sources."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, quantize
from gguf_bytes import STRING, gguf, key, tensor, text

MANY = 60_000  # rows: 61 MB in F32, worth half a second of quantizing

_TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "q4_k": 12, "i8": 24, "i32": 26, "f64": 28}
_ELEMENTS = {"f32": np.float32, "f16": np.float16, "i8": np.int8, "i32": np.int32, "f64": np.float64}
_COLS = 256


def architecture(name: bytes) -> bytes:
    """The key."""
    return key(b"general.architecture", STRING, text(name))


def source(path: Path, keys: Sequence[bytes] = (), *, type: str = "f32", value: float = 1.0, rows: int = 4) -> Path:
    """A deepseek2 with a matrix, of this type and with this value (in a scale, for blocks), and a norm."""
    matrix = _data(type, value, rows)
    padded = matrix.ljust(-(-len(matrix) // 32) * 32, b"\0")
    norm = np.ones(8, np.float32).tobytes()
    header = gguf(
        [architecture(b"deepseek2"), key(b"any"), *keys],
        [
            tensor(b"blk.0.ffn_up.weight", (_COLS, rows), _TYPES[type]),
            tensor(b"output_norm.weight", (8,), offset=len(padded)),
        ],
    )
    path.write_bytes(header + padded + norm)
    return path


def _data(type: str, value: float, rows: int) -> bytes:
    numbers = np.linspace(-1, 1, rows * _COLS).reshape(rows, _COLS)
    if type in _ELEMENTS:
        plain = numbers.astype(_ELEMENTS[type])
        if plain.dtype.kind == "f":
            plain[1, 1] = value
        return plain.tobytes()
    if type == "q8_0":
        blocks = quantize(numbers.astype(np.float32), GGMLQuantizationType.Q8_0).reshape(-1, 34)
    else:
        blocks = np.zeros((rows, 144), np.uint8)
    blocks[0, :2] = np.array([value], np.float16).view(np.uint8)
    return blocks.tobytes()
