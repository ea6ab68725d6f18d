"""The tensors of the samples of DeepSeek-V4, and the numbers that only they have (FP4, powers of two, expert ids)."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from deepgguf.encodings.bits import E2M1, E4M3, nibble_pairs
from deepgguf.models.deepseek_v4_config import DeepseekV4Config, parse
from deepgguf.models.deepseek_v4_stages import stages_table
from deepgguf.models.deepseek_v4_table import row_of, table
from deepgguf.models.table import Kind, Row
from deepgguf.samples.deepseek_v4_configs import JSON, SEEDS, WITH_STAGES
from deepgguf.samples.recipe import elements, random_numbers, to_bf16, unit
from deepgguf.samples.tensors import Fill, Own, SampleTensor, by_expert

Elements = npt.NDArray[Any]


class Spread(Own, frozen=True):
    """Numbers in [mean − spread, mean + spread), in F32 or BF16."""

    spread: float
    mean: float = 0.0

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """Every step in float32."""
        numbers = np.float32(2) * unit(random_numbers(name, seed, start, stop)) - np.float32(1)
        numbers = numbers * np.float32(self.spread) + np.float32(self.mean)
        return to_bf16(numbers) if self.dtype == "BF16" else numbers


class Fp4Codes(Own, frozen=True):
    """Bytes, each of two codes."""

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """Every byte as it comes."""
        return random_numbers(name, seed, start, stop).astype(np.uint8)


class Powers(Own, frozen=True):
    """2^lowest to 2^(lowest + count − 1), in F32 or E8M0."""

    lowest: int
    count: int

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """Exponents by the upper bits."""
        upper = random_numbers(name, seed, start, stop) >> np.uint64(40)
        exponents = (upper % np.uint64(self.count)).astype(np.int32) + self.lowest
        return np.ldexp(np.float32(1), exponents) if self.dtype == "F32" else (exponents + 127).astype(np.uint8)


class Chosen(Own, frozen=True):
    """The numbers of `each` of `experts` for every row, all different."""

    experts: int
    each: int

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """Experts in the order of their random numbers."""
        first, last = start // self.each, -(-stop // self.each)
        random = random_numbers(name, seed, first * self.experts, last * self.experts).reshape(-1, self.experts)
        ids = np.argsort(random >> np.uint64(8), axis=1, kind="stable")[:, : self.each].astype(np.int64).ravel()
        return ids[start - first * self.each : stop - first * self.each]


class Product(Own, frozen=True):
    """Codes times scales in BF16, as a checkpoint without scales has them; so many rows and columns share one."""

    codes: SampleTensor
    scales: SampleTensor
    block: tuple[int, int]

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """By the bytes of both tensors."""
        packed = self.codes.dtype == "I8"
        cols = self.codes.shape[1] * (2 if packed else 1)
        rows, columns = np.divmod(np.arange(start, stop), cols)
        if packed:
            pairs = elements(self.codes, start // 2, -(-stop // 2))
            values = nibble_pairs(pairs, E2M1)[start % 2 :][: stop - start]
        else:
            values = E4M3[elements(self.codes, start, stop)]
        scales = elements(self.scales, 0, self.scales.count)
        exponents = scales[rows // self.block[0] * self.scales.shape[1] + columns // self.block[1]]
        return to_bf16(np.ldexp(values, exponents.astype(np.int32) - 127))


class Renamed(Own, frozen=True):
    """Another tensor's numbers; those in BF16 may be widened to F32."""

    source: SampleTensor

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """The other's, by its own name."""
        numbers = elements(self.source, start, stop)
        return numbers if self.dtype == self.source.dtype else (numbers.astype(np.uint32) << 16).view(np.float32)


_STD = Spread("BF16", 0.035)
_NORM = Spread("BF16", 0.17, 1.0)

# By the end of a tensor's name, the first that fits.
_NUMBERS: dict[str, Own] = {
    "attn_sink": Spread("F32", 1.0),
    ".ape": Spread("F32", 0.5),
    "_base": Spread("F32", 0.5),
    "_scale": Spread("F32", 0.3, 1.0),
    "gate.bias": Spread("F32", 0.3),
    "gate.bias_vl": Spread("F32", 0.3),
    "wgate.weight": Spread("BF16", 0.1),
    "gate.weight": Spread("BF16", 0.35),
    "weights_proj.weight": Spread("BF16", 0.35),
    "head.weight": Spread("BF16", 0.1),
    "norm.weight": _NORM,
    "norm1.weight": _NORM,
    "norm2.weight": _NORM,
}


def v4_tensors(kind: str, content: JSON, *, seed: int | None = None, wide: bool = False) -> list[SampleTensor]:
    """All tensors of a checkpoint with this config.json, in its order.

    `wide`: scales of every size, for conversions only: such a model computes nothing sensible.
    """
    config = parse(content, "config.json")
    own = msgspec.structs.replace(config, saved=False)
    mtp = 0 if kind in (*WITH_STAGES, "v4-hf") else config.num_nextn_predict_layers
    rows = [*table(own, mtp), *(stages_table(own) if kind in WITH_STAGES else ())]
    rows = [row for row in rows if kind == "v4-base" or not row.optional]
    rows = list(_with_unused_biases(rows, config)) if config.vision else rows
    seed = SEEDS[kind] if seed is None else seed
    found = [
        msgspec.structs.replace(tensor, seed=seed)
        for row, name in by_expert(rows)
        for tensor in _stored(row, name, kind, config, wide=wide)
    ]
    if kind in ("v4-bf16", "v4-hf"):
        found = list(_without_scales(found))
    return sorted(_saved(found, config), key=lambda tensor: tensor.name) if config.saved else found


def _with_unused_biases(rows: Iterable[Row], c: DeepseekV4Config) -> Iterator[Row]:
    """Biases that the model that sees is released with though nothing reads them: of text where a table names the
    experts, of pictures in the stages.
    """
    for row in rows:
        yield row
        unused = ""
        if row.kind is Kind.IDS:
            unused = row.source.replace("tid2eid", "bias")
        elif row.source.startswith("mtp.") and row.kind is Kind.ROUTER_BIAS:
            unused = f"{row.source}_vl"
        if unused:
            yield row_of(c, unused, Kind.ROUTER_BIAS, (c.n_routed_experts,), "")


def _stored(row: Row, name: str, kind: str, c: DeepseekV4Config, *, wide: bool) -> Iterator[SampleTensor]:
    """A matrix that the release quantizes is followed by its scales."""
    scales, scale = f"{name.removesuffix('weight')}scale", "F32" if kind == "v4-base" else "F8_E8M0"
    rows, cols = row.shape if len(row.shape) == 2 else (1, row.shape[0])
    if row.kind is not Kind.LINEAR:
        yield SampleTensor(name, row.shape, _numbers(row, c))
    elif row.experts and kind != "v4-base":
        yield SampleTensor(name, (rows, cols // 2), Fp4Codes("I8"))
        yield SampleTensor(scales, (rows, cols // 32), Powers(scale, *((-127, 255) if wide else (-8, 3))))
    else:
        yield SampleTensor(name, row.shape, Fill.FP8)
        blocks = -(-rows // 128), -(-cols // 128)
        yield SampleTensor(scales, blocks, Powers(scale, *((-24, 35) if wide else (-14, 3))))


def _numbers(row: Row, c: DeepseekV4Config) -> Own:
    if row.kind is Kind.IDS:
        return Chosen("I64", c.n_routed_experts, c.num_experts_per_tok)
    if row.source.endswith("_fn"):
        return Spread("F32", (3 / row.shape[1]) ** 0.5)
    return next((numbers for end, numbers in _NUMBERS.items() if row.source.endswith(end)), _STD)


def _without_scales(tensors: Iterable[SampleTensor]) -> Iterator[SampleTensor]:
    by_name = {tensor.name: tensor for tensor in tensors}
    for name, tensor in by_name.items():
        scales = by_name.get(f"{name.removesuffix('weight')}scale")
        if scales is not None and name.endswith(".weight"):
            packed = tensor.dtype == "I8"
            shape = (tensor.shape[0], tensor.shape[1] * (2 if packed else 1))
            product = Product("BF16", tensor, scales, (1, 32) if packed else (128, 128))
            yield SampleTensor(name, shape, product)
        elif not name.endswith(".scale"):
            yield tensor


def _saved(tensors: Iterable[SampleTensor], c: DeepseekV4Config) -> Iterator[SampleTensor]:
    """Under the names that transformers saves; norms in F32."""
    own = msgspec.structs.replace(c, saved=False)
    tables = zip(table(own, 0), table(c, 0), strict=True)
    names = {row.source: saved.source for row, saved in tables if not row.experts}
    for tensor in tensors:
        dtype = "F32" if tensor.name.endswith("norm.weight") else tensor.dtype
        yield SampleTensor(names.get(tensor.name, f"model.{tensor.name}"), tensor.shape, Renamed(dtype, tensor))
