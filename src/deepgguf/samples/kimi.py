"""The tensors of the samples of the Kimi-K2 family, and the numbers that only they have (INT4, frequencies)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from deepgguf.models import find_family
from deepgguf.models.table import Row
from deepgguf.samples.kimi_configs import JSON
from deepgguf.samples.recipe import random_numbers, to_bf16, unit
from deepgguf.samples.tensors import Own, SampleTensor, by_expert, fill_of, with_scales

Elements = npt.NDArray[Any]

_ONES = np.uint32(0x11111111)  # the lowest bit of every nibble


class Int4Words(Own, frozen=True):
    """Words of eight nibbles; in every seventh word the nibble 0, which stands for -8, is a 1."""

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """The lower halves of the random numbers."""
        words = random_numbers(name, seed, start, stop).astype(np.uint32)
        some = words | words >> np.uint32(1)
        empty = ~(some | some >> np.uint32(2)) & _ONES
        return np.where(np.arange(start, stop) % 7 == 3, words | empty, words)


class Int4Scales(Own, frozen=True):
    """One to two thousandths."""

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """Rounded from float32 once."""
        return to_bf16((unit(random_numbers(name, seed, start, stop)) + np.float32(1)) * np.float32(1e-3))


class Sides(Own, frozen=True):
    """Rows and columns."""

    sides: tuple[int, ...]

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """They themselves."""
        return np.array(self.sides[start:stop], np.int32)


class Frequencies(Own, frozen=True):
    """Inverse frequencies of rotary positions, of so many dimensions."""

    base: float
    dimensions: int

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """1 / base^(2i / dimensions), in float32."""
        exponents = np.arange(2 * start, 2 * stop, 2, dtype=np.float32) / np.float32(self.dimensions)
        return np.float32(1) / np.float32(self.base) ** exponents


def kimi_tensors(kind: str, content: JSON) -> list[SampleTensor]:
    """All tensors of a checkpoint with this config.json, in the order of its modules."""
    family = find_family(content, "config.json")
    rows = [*family.table(family.parse(content, "config.json"), 0)]
    return [tensor for row, name in by_expert(rows) for tensor in _stored(kind, row, name, content)]


def _stored(kind: str, row: Row, name: str, content: JSON) -> Iterator[SampleTensor]:
    """A tensor as this kind has it, with what follows it."""
    if kind == "kimi-k2":
        yield from with_scales(row, name, (128, 128))
    elif row.experts and kind != "moonlight":
        yield from _int4(row, f"{_prefix(kind, name)}{name}".removesuffix("weight"))
    else:
        yield SampleTensor(_prefix(kind, name) + name, row.shape, fill_of(row))
    if kind == "kimi-k2" and name.endswith("self_attn.o_proj.weight"):
        frequencies = Frequencies("F32", content["rope_theta"], content["qk_rope_head_dim"])
        at = name.replace("o_proj.weight", "rotary_emb.inv_freq")
        yield SampleTensor(at, (frequencies.dimensions // 2,), frequencies)


def _prefix(kind: str, name: str) -> str:
    return "language_model." if kind == "kimi-k25" and name.startswith(("model.", "lm_head.")) else ""


def _int4(row: Row, layer: str) -> Iterator[SampleTensor]:
    rows, cols = row.shape
    yield SampleTensor(f"{layer}weight_packed", (rows, -(-cols // 8)), Int4Words("I32"))
    yield SampleTensor(f"{layer}weight_scale", (rows, -(-cols // 32)), Int4Scales("BF16"))
    yield SampleTensor(f"{layer}weight_shape", (2,), Sides("I32", row.shape))
