"""Rows of weights, and importances, that take quantizers to every corner: all finite, from a seed."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Maker = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.floating]]

LARGEST = float(np.finfo(np.float32).max)


def _mixed(rng: np.random.Generator, shape: tuple[int, int], low: float, high: float) -> NDArray[np.float64]:
    return rng.standard_normal(shape) * np.exp2(rng.uniform(low, high, shape))


def _outlier(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    rows = rng.standard_normal(shape) * 1e-3
    rows[:, rng.integers(shape[1], size=max(1, shape[1] // 200))] = rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(0, 6)
    return rows


def _per_block(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    factor = np.exp2(rng.uniform(-140, 120, (shape[0], shape[1] // 16)))
    factor[rng.random(factor.shape) < 0.3] = 0
    return rng.standard_normal(shape) * np.repeat(factor, 16, axis=1)


def _runs_of_zeros(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Many parts of 16 or 32 weights that are nothing but 0, of either sign, among others."""
    kept = np.repeat(rng.random((shape[0], shape[1] // 16)) < 0.6, 16, axis=1)
    return np.where(kept, rng.standard_normal(shape) * 0.02, rng.choice([-0.0, 0.0], shape))


def _almost_empty(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Parts of 16 weights whose largest is one of those below which a quantizer takes a part to be empty, or next to it."""
    limits = np.array([1e-15, 1e-12, 1e-8, 1e-7, 1e-30, 1.0], np.float32)
    largest = rng.choice(np.concatenate([limits, np.nextafter(limits, 0), np.nextafter(limits, 2)]),
                         (shape[0], shape[1] // 16))  # fmt: skip
    rows = rng.choice([-1.0, 0.5, 1.0, 1.0], shape) * np.repeat(largest, 16, axis=1).astype(np.float64)
    return rows * (rng.random(shape) < 0.8)


def _bits(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    return rng.integers(0, 1 << 32, shape, np.uint32).view(np.float32)


MAKERS: dict[str, Maker] = {
    "normal": lambda rng, shape: rng.standard_normal(shape) * 0.02,
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "heavy tails": lambda rng, shape: rng.standard_t(2, shape) * 0.02,
    "positive": lambda rng, shape: rng.uniform(0.5, 1, shape),
    "negative": lambda rng, shape: rng.uniform(-1, -0.999, shape),
    "zero": lambda rng, shape: np.zeros(shape),
    "zeros of both signs": lambda rng, shape: rng.choice([-0.0, 0.0], shape),
    "constant": lambda rng, shape: np.full(shape, rng.standard_normal()),
    "nearly constant": lambda rng, shape: 1.0 + rng.integers(-2, 3, shape) * 2.0**-23,
    "two values": lambda rng, shape: rng.choice(rng.standard_normal(2), shape),
    "sparse": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.03),
    "halves": lambda rng, shape: rng.integers(-40, 41, shape) / 2,
    "eighths of a block's largest": lambda rng, shape: rng.integers(-8, 9, shape) / 8 * 2.0 ** rng.integers(-20, 20),
    "tiny": lambda rng, shape: rng.standard_normal(shape) * 1e-15,
    "vanishing": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(-40, -20),
    "denormal": lambda rng, shape: rng.integers(-300, 300, shape) * 2.0**-149,
    "beyond F16": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(4, 9),
    "huge": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(15, 38),
    "largest": lambda rng, shape: rng.choice([-LARGEST, 0, 1, LARGEST], shape),
    "mixed magnitudes": lambda rng, shape: _mixed(rng, shape, -20, 5),
    "all magnitudes": lambda rng, shape: _mixed(rng, shape, -149, 127),
    "magnitudes by block": _per_block,
    "outliers": _outlier,
    "runs of zeros": _runs_of_zeros,
    "almost empty": _almost_empty,
    "random bits": _bits,
}

IMPORTANCES: dict[str, Callable[[np.random.Generator, int], NDArray[np.floating]]] = {
    "random": lambda rng, cols: rng.random(cols),
    "squares": lambda rng, cols: rng.standard_normal(cols) ** 2,
    "constant": lambda rng, cols: np.ones(cols),
    "zero": lambda rng, cols: np.zeros(cols),
    "spikes": lambda rng, cols: np.where(rng.random(cols) < 0.02, 1e4, 1e-6),
    "half zero": lambda rng, cols: rng.random(cols) * (rng.random(cols) < 0.5),
    "runs of zeros": lambda rng, cols: rng.random(cols) * np.repeat(rng.random(cols // 16) < 0.6, 16),
    "all magnitudes": lambda rng, cols: np.exp2(rng.uniform(-140, 120, cols)),
}


def _finite(values: NDArray[np.floating]) -> Rows:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        result = values.astype(np.float32)
    return np.where(np.isfinite(result), result, np.float32(LARGEST)).astype(np.float32)


def make_rows(kind: str, seed: int, rows: int, cols: int) -> Rows:
    """`rows` x `cols` weights of a kind in MAKERS."""
    return _finite(MAKERS[kind](np.random.default_rng(seed), (rows, cols)))


def make_importance(kind: str, seed: int, cols: int) -> Rows:
    """`cols` importances of a kind in IMPORTANCES."""
    return _finite(IMPORTANCES[kind](np.random.default_rng(seed), cols))
