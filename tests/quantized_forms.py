"""Made-up weights in every stored form of quantizers, with what they stand for, written from the formats' pages."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tiny_checkpoint import Stored, stored

E2M1 = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


class Coded(NamedTuple):
    """A layer's tensors by their names after the layer's, and the weights, float32 [rows, cols]."""

    tensors: dict[str, Stored]
    weights: np.ndarray


def _bytes(codes: np.ndarray, dtype: str) -> Stored:
    return Stored(dtype, codes.shape, codes.tobytes())


def _scales(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Such that BF16 holds them."""
    return (rng.integers(128, 256, shape) * np.float32(2.0**-16)).astype(np.float32)


def _expand(scales: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Each scale over its block: 128 × 128, or as many rows or columns as there are scales for them."""
    tiles = scales.shape == _tiles(rows, cols)
    high, wide = (128, 128) if tiles else (-(-rows // scales.shape[0]), -(-cols // scales.shape[1]))
    return np.repeat(np.repeat(scales, high, 0), wide, 1)[:rows, :cols]


def _e4m3(codes: np.ndarray) -> np.ndarray:
    exponent, mantissa = codes >> 3 & 15, codes & 7
    values = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    return np.where(codes & 128, -values, values).astype(np.float32)


def _fp8(rng: np.random.Generator, rows: int, cols: int) -> np.ndarray:
    codes = rng.integers(0, 256, (rows, cols), np.uint8)
    return np.where(codes & 127 == 127, np.uint8(0x38), codes)


def fp8(shape: Callable[[int, int], tuple[int, ...]], name: str = "weight_scale", dtype: str = "F32") -> Any:
    """E4M3 with scales of `shape(rows, cols)`."""

    def make(rng: np.random.Generator, rows: int, cols: int) -> Coded:
        codes, scales = _fp8(rng, rows, cols), _scales(rng, *shape(rows, cols))
        grid = scales.reshape(scales.shape if scales.ndim == 2 else (-1, 1))
        values = _e4m3(codes.astype(int)) * _expand(grid, rows, cols)
        return Coded({"weight": _bytes(codes, "F8_E4M3"), name: stored(scales, dtype)}, values)

    return make


def e5m2(rng: np.random.Generator, rows: int, cols: int) -> Coded:
    """The upper bytes of halves, with one scale."""
    halves = rng.normal(0, 1, (rows, cols)).astype(np.float16).view(np.uint16) & 0xFF00
    scale = _scales(rng, 1)
    tensors = {"weight": _bytes((halves >> 8).astype(np.uint8), "F8_E5M2"), "weight_scale": stored(scale, "F32")}
    return Coded(tensors, halves.view(np.float16).astype(np.float32) * scale)


def int8(rng: np.random.Generator, rows: int, cols: int) -> Coded:
    """One scale for each row."""
    numbers, scales = rng.integers(-128, 128, (rows, cols), np.int8), _scales(rng, rows, 1)
    return Coded({"weight": _bytes(numbers, "I8"), "weight_scale": stored(scales, "BF16")}, numbers * scales)


def int8_with_zeros(rng: np.random.Generator, rows: int, cols: int) -> Coded:
    """Asymmetric."""
    coded, zeros = int8(rng, rows, cols), rng.integers(-20, 20, (rows, 1), np.int8)
    numbers = np.frombuffer(coded.tensors["weight"].data, np.int8).reshape(rows, cols).astype(np.float32)
    scales = (np.frombuffer(coded.tensors["weight_scale"].data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return Coded(coded.tensors | {"weight_zero_point": _bytes(zeros, "I8")}, (numbers - zeros) * scales[:, None])


def _packed(fields: np.ndarray, bits: int, axis: int) -> Stored:
    """Fields in words, lowest first, along `axis`, which is padded."""
    per = 32 // bits
    fields = np.moveaxis(fields.astype(np.uint32), axis, 1)
    fields = np.pad(fields, ((0, 0), (0, -fields.shape[1] % per))).reshape(len(fields), -1, per)
    words = np.bitwise_or.reduce(fields << (bits * np.arange(per, dtype=np.uint32)), axis=2)
    return _bytes(np.ascontiguousarray(np.moveaxis(words, 1, axis)), "I32")


def packed(bits: int, group: int | None, *, zeros: bool = False) -> Any:
    """Integers in words, `group` columns to a scale, or a row."""

    def make(rng: np.random.Generator, rows: int, cols: int) -> Coded:
        groups = cols // group if group else 1
        fields, scales = rng.integers(0, 1 << bits, (rows, cols)), _scales(rng, rows, groups)
        middle = rng.integers(0, 1 << bits, (rows, groups)) if zeros else np.full((rows, groups), 1 << bits - 1)
        tensors = {
            "weight_packed": _packed(fields, bits, 1),
            "weight_scale": stored(scales, "BF16"),
            "weight_shape": Stored("I64", (2,), np.array([rows, cols], "<i8").tobytes()),
        }
        if zeros:
            tensors["weight_zero_point"] = _packed(middle, bits, 0)
        values = (fields - _expand(middle, rows, cols)).astype(np.float32) * _expand(scales, rows, cols)
        return Coded(tensors, values)

    return make


def _pairs(codes: np.ndarray) -> np.ndarray:
    return (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)


def mxfp4(codes_are: str, dtype: str, scales_are: str, scale_dtype: str) -> Any:
    """FP4 with a power of two for 32 columns, under either of its names."""

    def make(rng: np.random.Generator, rows: int, cols: int) -> Coded:
        codes, powers = rng.integers(0, 16, (rows, cols)), rng.integers(110, 125, (rows, cols // 32), np.uint8)
        tensors = {codes_are: _bytes(_pairs(codes), dtype), scales_are: _bytes(powers, scale_dtype)}
        return Coded(tensors, E2M1[codes] * _expand(np.exp2(powers - np.float32(127)), rows, cols))

    return make


def nvfp4(codes_are: str, second_is: str) -> Any:
    """FP4 with an FP8 scale for 16 columns and a second one; its reciprocal is stored as weight_global_scale."""

    def make(rng: np.random.Generator, rows: int, cols: int) -> Coded:
        codes, scales = rng.integers(0, 16, (rows, cols)), _fp8(rng, rows, cols // 16) & 127
        second = np.float32([rng.uniform(1000, 3000) if "global" in second_is else rng.uniform(1e-4, 1e-3)])
        factor = np.float32(1) / second if "global" in second_is else second
        tensors = {codes_are: _bytes(_pairs(codes), "U8"), "weight_scale": _bytes(scales, "F8_E4M3")}
        values = E2M1[codes] * _expand(_e4m3(scales.astype(int)), rows, cols) * factor
        return Coded(tensors | {second_is: stored(second, "F32")}, values)

    return make


def compressed(format: str, **weights: Any) -> dict[str, Any]:
    """A quantization_config of compressed-tensors."""
    group = {"targets": ["Linear"], "weights": {"symmetric": True, "num_bits": 8, **weights}}
    return {
        "quant_method": "compressed-tensors",
        "format": format,
        "config_groups": {"g": group},
        "ignore": ["lm_head"],
    }


def _tiles(rows: int, cols: int) -> tuple[int, int]:
    return -(-rows // 128), -(-cols // 128)


FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
FORMS: Mapping[str, tuple[Mapping[str, Any], Callable[[np.random.Generator, int, int], Coded]]] = {
    "deepseek-fp8": (FP8, fp8(_tiles, "weight_scale_inv")),
    "deepseek-fp8-one-scale": ({"quant_method": "fp8"}, fp8(lambda rows, cols: (), "weight_scale_inv")),
    "fp8-without-a-config": ({}, fp8(_tiles, "weight_scale_inv")),
    "ct-fp8-block": (compressed("float-quantized", strategy="block", block_structure=[128, 128]), fp8(_tiles)),
    "ct-fp8-channel": (
        compressed("float-quantized", strategy="channel"), fp8(lambda rows, cols: (rows, 1), dtype="BF16")
    ),
    "ct-fp8-tensor": (compressed("naive-quantized", strategy="tensor"), fp8(lambda rows, cols: (1,))),
    "modelopt-fp8": ({"quant_method": "modelopt", "quant_algo": "FP8"}, fp8(lambda rows, cols: ())),
    "fp8-e5m2": ({"quant_method": "fp8", "fmt": "e5m2"}, e5m2),
    "ct-int8-channel": (compressed("int-quantized", strategy="channel"), int8),
    "ct-int8-asymmetric": (compressed("int-quantized", strategy="channel", symmetric=False), int8_with_zeros),
    "ct-int4-g32": (compressed("pack-quantized", num_bits=4, strategy="group", group_size=32), packed(4, 32)),
    "ct-int4-g16-asymmetric": (
        compressed("pack-quantized", num_bits=4, strategy="group", group_size=16, symmetric=False),
        packed(4, 16, zeros=True),
    ),
    "ct-int4-channel": (compressed("pack-quantized", num_bits=4, strategy="channel"), packed(4, None)),
    "ct-int8-g32-packed": (compressed("pack-quantized", strategy="group", group_size=32), packed(8, 32)),
    "ct-int8-packed-asymmetric": (
        compressed("pack-quantized", strategy="channel", symmetric=False), packed(8, None, zeros=True)
    ),
    "ct-mxfp4": (
        compressed("mxfp4-pack-quantized", num_bits=4, group_size=32), mxfp4("weight_packed", "U8", "weight_scale", "U8")
    ),
    "deepseek-v4-fp4": (FP8, mxfp4("weight", "I8", "scale", "F8_E8M0")),
    "ct-nvfp4": (
        compressed("nvfp4-pack-quantized", num_bits=4, group_size=16), nvfp4("weight_packed", "weight_global_scale")
    ),
    "modelopt-nvfp4": (MODELOPT, nvfp4("weight", "weight_scale_2")),
}  # fmt: skip
"""By name: the quantization_config, and what makes a layer."""
