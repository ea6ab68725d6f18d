"""The tensors of a sample, from its family's table: their names, their shapes, and the numbers that fill them."""

import enum
import math
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec
from numpy.typing import NDArray

from deepgguf.formats.safetensors import DTYPE_BITS
from deepgguf.models import find_family
from deepgguf.models.table import Kind, Part, Row


class Fill(enum.Enum):
    """The kinds of numbers in a checkpoint; each has its dtype and its distribution (`recipe.py`)."""

    WEIGHT = "weight"
    NORM = "norm"
    ROUTER = "router"
    CORRECTION_BIAS = "correction bias"
    FP8 = "fp8"
    SCALE = "scale"
    POWER_SCALE = "scale that is a power of two"
    HEAD = "head"
    F32_NORM = "norm in F32"
    F32_BIAS = "bias in F32"


DTYPES = {
    Fill.WEIGHT: "BF16",
    Fill.NORM: "BF16",
    Fill.ROUTER: "BF16",
    Fill.CORRECTION_BIAS: "F32",
    Fill.FP8: "F8_E4M3",
    Fill.SCALE: "F32",
    Fill.POWER_SCALE: "F32",
    Fill.HEAD: "BF16",
    Fill.F32_NORM: "F32",
    Fill.F32_BIAS: "F32",
}


class Own(msgspec.Struct, frozen=True):
    """Numbers that only one family has, of a safetensors `dtype`."""

    dtype: str

    def elements(self, name: str, seed: int, start: int, stop: int) -> NDArray[Any]:
        """The elements [start, stop) of the tensor `name`, as its bytes are stored."""
        raise NotImplementedError


class SampleTensor(msgspec.Struct, frozen=True):
    """One tensor of a sample; `shape` is row-major. Another `seed` gives other numbers."""

    name: str
    shape: tuple[int, ...]
    fill: Fill | Own = Fill.WEIGHT
    seed: int = 0

    @property
    def dtype(self) -> str:
        """The dtype's name in a safetensors header."""
        return self.fill.dtype if isinstance(self.fill, Own) else DTYPES[self.fill]

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return DTYPE_BITS[self.dtype] // 8

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.count * self.item_bytes


_FILLS = {Kind.NORM: Fill.NORM, Kind.ROUTER: Fill.ROUTER, Kind.ROUTER_BIAS: Fill.CORRECTION_BIAS}


class Numbers(msgspec.Struct, frozen=True):
    """What fills the samples of a family: the scales of FP8, and by the end of its name what its kind does not say."""

    scale: Fill = Fill.SCALE
    by_name: Mapping[str, Fill] = {}

    def of(self, row: Row) -> Fill:
        """The fill of a tensor that is not FP8."""
        named = (fill for end, fill in self.by_name.items() if row.source.endswith(end))
        return next(named, _FILLS.get(row.kind, Fill.WEIGHT))


NO_NUMBERS = Numbers()


def fill_of(row: Row) -> Fill:
    """The usual fill of a tensor that is not FP8."""
    return NO_NUMBERS.of(row)


def by_expert(rows: list[Row]) -> Iterator[tuple[Row, str]]:
    """Every tensor with its row: all of an expert, then all of the next."""
    position = 0
    while position < len(rows):
        last = position + 1
        while rows[position].experts and last < len(rows) and rows[last].experts:
            last += 1
        for expert in range(max(1, rows[position].experts)):
            for row in rows[position:last]:
                for name in (row.source.replace("{}", str(expert)), row.beside):
                    if name:
                        yield row, name
        position = last


_NUMBERS = {
    "DeepseekV32ForCausalLM": Numbers(
        Fill.POWER_SCALE,
        {
            "head.weight": Fill.HEAD,
            "indexer.k_norm.weight": Fill.F32_NORM,
            "indexer.k_norm.bias": Fill.F32_BIAS,
        },
    )
}


def tensors_of(config: dict[str, Any], mtp_experts: int | None = None, seed: int = 0) -> Iterator[SampleTensor]:
    """All tensors of a checkpoint with this config.json, MTP layers included, in the order of its modules.

    `mtp_experts` is the number of routed experts in an MTP layer, by default as many as in any other. CheckpointError:
    the config is not that of a model that deepgguf knows.
    """
    family = find_family(config, "config.json")
    rows = family.table(family.parse(config, "config.json"), config.get("num_nextn_predict_layers", 0))
    block = (config.get("quantization_config") or {}).get("weight_block_size")
    numbers = _NUMBERS.get(family.name, NO_NUMBERS)
    for experts, alike in groupby(rows, key=lambda row: row.experts):
        group = list(alike)
        if experts and group[0].part is Part.MTP and mtp_experts is not None:
            experts = mtp_experts
        for expert in range(max(1, experts)):
            for row in group:
                for tensor in with_scales(row, row.source.replace("{}", str(expert)), block, numbers):
                    yield msgspec.structs.replace(tensor, seed=seed) if seed else tensor


def with_scales(
    row: Row, name: str, block: tuple[int, int] | None, numbers: Numbers = NO_NUMBERS
) -> Iterator[SampleTensor]:
    """A matrix that an FP8 checkpoint quantizes is followed there by its scales, one per block."""
    if block is None or row.kind is not Kind.LINEAR:
        yield SampleTensor(name, row.shape, numbers.of(row))
    else:
        yield SampleTensor(name, row.shape, Fill.FP8)
        blocks = tuple(-(-size // step) for size, step in zip(row.shape, block, strict=True))
        yield SampleTensor(f"{name}_scale_inv", blocks, numbers.scale)
