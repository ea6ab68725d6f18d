"""How much a quantization loses: measured on every piece as it is made, at the cost of one dequantization."""

import threading
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.formats.gguf.types import GGMLType, TensorInfo, row_bytes
from deepgguf.verification.decoders import decode


class TensorError(msgspec.Struct, frozen=True):
    """The relative RMS error of a quantized tensor: √(Σ (decoded − source)² / Σ source²)."""

    name: str
    type: str
    relative_rms: float


class ErrorMeter:
    """Sums squared errors and squares by tensor; `observe` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, GGMLType], NDArray[Any]] = {}

    def observe(self, tensor: TensorInfo, out: NDArray[np.uint8], floats: NDArray[np.float32] | None) -> None:
        """Compares a piece's bytes with the floats that they were made of (None: nothing was quantized)."""
        if floats is None:
            return
        type, length = tensor.type, tensor.shape[-1]
        decoded = decode(type, out.reshape(-1, row_bytes(type, length)), length).reshape(-1)
        error = decoded - floats
        sums = np.array([np.dot(error, error), np.dot(floats, floats)], np.float64)
        with self._lock:
            key = (tensor.name, type)
            self._sums[key] = self._sums.get(key, 0) + sums

    def results(self) -> tuple[TensorError, ...]:
        """Every quantized tensor that was seen, by name."""
        return tuple(
            TensorError(name, type.name, float(np.sqrt(error / square)) if square else 0.0)
            for (name, type), (error, square) in sorted(self._sums.items())
        )


def largest_by_type(errors: tuple[TensorError, ...]) -> dict[str, TensorError]:
    """For each type the tensor with the largest error."""
    largest: dict[str, TensorError] = {}
    for error in errors:
        if error.type not in largest or error.relative_rms > largest[error.type].relative_rms:
            largest[error.type] = error
    return largest
