"""How fast this machine is, by a short trial of each kernel, for estimates of a run's time."""

import time
from collections.abc import Mapping
from functools import cache

import numpy as np

from deepgguf import kernels
from deepgguf.encodings import PLAIN, WRITTEN, encoding_of
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType, row_bytes

_ROW = 4096
_ROWS = 64


@cache
def weights_per_second(type: GGMLType) -> float:
    """Weights per second on one core, from rows of normal weights to `type`, without importance matrix if it can be."""
    weights = np.random.default_rng(0).normal(0, 0.02, _ROW * _ROWS).astype(np.float32)
    out = np.empty(_ROWS * row_bytes(type, _ROW), np.uint8)
    encoding = encoding_of(type)
    needs_importance = isinstance(encoding, Quantized) and encoding.impossible_without_importance
    importance = np.ones(_ROW, np.float32) if needs_importance else None
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        if type in PLAIN:
            kernels.cast(weights.view(np.uint8), GGMLType.F32, out, type)
        else:
            kernels.quantize(weights, _ROW, type, importance, out, row_bytes(type, _ROW))
        best = min(best, time.perf_counter() - began)
    return weights.size / best


def estimated_seconds(weights: Mapping[GGMLType, int], jobs: int) -> float:
    """Seconds of work for so many weights of each type with `jobs` threads; a slower disk takes longer.

    What are no weights, tables of expert numbers, takes no time.
    """
    return sum(count / weights_per_second(type) for type, count in weights.items() if type in WRITTEN) / jobs
