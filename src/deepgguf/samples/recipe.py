"""The numbers of the samples: a pure function of a tensor's name, its fill and the element's index.

For a tensor NAME, z[i] = splitmix64((s << 32) + i) with i row-major, s = crc32(NAME) ^ (seed * 0x9E3779B1 mod 2**32)
and u[i] = (z[i] >> 40) * 2**-24 in [0, 1). A uniform element is (2 * u - 1) * spread + mean, every step and constant
in float32, rounded to nearest even where the dtype is BF16. An FP8 byte is z & 0xFF, NaN (0x7F, 0xFF) replaced by 0x30
and 0xB0; a scale, seeded by its own name, is (u + 1) * 1e-4 in float32, or 2**((z >> 40) mod 3 - 14). splitmix64 is
that of Steele, Lea and Flood (2014): its first value from the state 0 is 0xE220A8397B1DCDAF.
"""

import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deepgguf.samples.tensors import DTYPES, Fill, Own, SampleTensor

SEED_FACTOR = 0x9E3779B1
GAMMA = 0x9E3779B97F4A7C15


class Uniform(NamedTuple):
    """Numbers in [mean - spread, mean + spread)."""

    spread: float
    mean: float


UNIFORM = {
    Fill.WEIGHT: Uniform(0.035, 0.0),
    Fill.NORM: Uniform(0.17, 1.0),
    Fill.ROUTER: Uniform(0.35, 0.0),
    Fill.CORRECTION_BIAS: Uniform(0.08, 0.0),
    Fill.HEAD: Uniform(0.1, 0.0),
    Fill.F32_NORM: Uniform(0.17, 1.0),
    Fill.F32_BIAS: Uniform(0.1, 0.0),
}


def elements(tensor: SampleTensor, start: int, stop: int) -> npt.NDArray[Any]:
    """The elements [start, stop) of a tensor, as its bytes are stored: float32, uint16 for BF16, uint8 for FP8."""
    if isinstance(tensor.fill, Own):
        return tensor.fill.elements(tensor.name, tensor.seed, start, stop)
    random = random_numbers(tensor.name, tensor.seed, start, stop)
    if tensor.fill is Fill.FP8:
        return _fp8(random)
    if tensor.fill is Fill.POWER_SCALE:
        return np.ldexp(np.float32(1), (random >> np.uint64(40)).astype(np.int32) % 3 - 14)
    numbers = unit(random)
    if tensor.fill is Fill.SCALE:
        numbers += np.float32(1)
        numbers *= np.float32(1e-4)
        return numbers
    spread, mean = UNIFORM[tensor.fill]
    numbers *= np.float32(2)
    numbers -= np.float32(1)
    numbers *= np.float32(spread)
    numbers += np.float32(mean)
    return to_bf16(numbers) if DTYPES[tensor.fill] == "BF16" else numbers


def random_numbers(name: str, seed: int, start: int, stop: int) -> npt.NDArray[np.uint64]:
    """z[start] … z[stop - 1] of the tensor `name`."""
    return splitmix64((zlib.crc32(name.encode()) ^ (seed * SEED_FACTOR % 2**32)) << 32, start, stop)


def splitmix64(seed: int, start: int, stop: int) -> npt.NDArray[np.uint64]:
    """splitmix64 of seed + start … seed + stop - 1, modulo 2**64, in uint64."""
    x = np.arange(stop - start, dtype=np.uint64)
    shifted = np.empty_like(x)
    x += np.uint64((seed + start + GAMMA) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        np.right_shift(x, np.uint64(shift), out=shifted)
        x ^= shifted
        x *= np.uint64(factor)
    np.right_shift(x, np.uint64(31), out=shifted)
    x ^= shifted
    return x


def unit(random: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
    """The upper 24 bits as a fraction; by way of int32, which converts to float32 in vectors."""
    upper = (random >> np.uint64(40)).astype(np.int32)
    return upper.astype(np.float32) * np.float32(2.0**-24)


def to_bf16(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Finite float32 to the bits of BF16, to nearest even."""
    bits = numbers.view(np.uint32)
    odd = bits >> np.uint32(16)
    odd &= np.uint32(1)
    odd += np.uint32(0x7FFF)
    odd += bits
    odd >>= np.uint32(16)
    return odd.astype(np.uint16)


def _fp8(random: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """The lowest bytes, without NaN: 0x7F and 0xFF lose the bits that 0x30 and 0xB0 lack."""
    lowest = random.astype(np.uint8)
    np.bitwise_and(lowest, np.uint8(0xB0), out=lowest, where=(lowest & np.uint8(0x7F)) == np.uint8(0x7F))
    return lowest
