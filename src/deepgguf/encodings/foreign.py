"""Stored forms that only other tools read: recognized by their tensors, so that an error can name the tool."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NoReturn

from deepgguf.encodings.encoding import Claim, Encoding
from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors import TensorHeader

_METHODS = {
    "aqlm": "AQLM",
    "auto-round": "AutoRound",
    "awq": "AWQ",
    "bitnet": "BitNet",
    "bitsandbytes": "bitsandbytes",
    "eetq": "EETQ",
    "exl2": "ExLlamaV2",
    "exl3": "ExLlamaV3",
    "fp_quant": "FP-Quant",
    "gptq": "GPTQ",
    "gptq_v2": "GPTQ",
    "higgs": "HIGGS",
    "hqq": "HQQ",
    "marlin": "Marlin",
    "mlx": "MLX",
    "quanto": "Quanto",
    "quark": "Quark",
    "spqr": "SpQR",
    "torchao": "torchao",
    "vptq": "VPTQ",
}


class Foreign(Encoding, frozen=True):
    """Weights that only `tool` reads, shown by `parts`."""

    tool: ClassVar[str] = ""
    parts: ClassVar[str] = ""
    undo: ClassVar[str] = ""

    @classmethod
    def describe(
        cls, weights: TensorHeader, beside: Sequence[TensorHeader], quantization: Mapping[str, object]
    ) -> NoReturn:
        """Raises the CheckpointError that names the tool, and what to convert instead."""
        found = f"quantized by {tool_of(quantization) or cls.tool} ({cls.parts}), which deepgguf does not read"
        raise CheckpointError(f"tensor {weights.name}", found, convert_the_original(quantization, cls.undo))


def tool_of(quantization: Mapping[str, object]) -> str:
    """The tool that config.json names and deepgguf does not read; empty if it names none of them."""
    method = quantization.get("quant_method")
    return _METHODS.get(method.lower(), "") if isinstance(method, str) else ""


def convert_the_original(quantization: Mapping[str, object], otherwise: str = "") -> str:
    """Advice that names the model card's `base_model`, if there is one."""
    original = quantization.get("base_model") or "the model that it was made from"
    return f"convert {original} instead" + (f", or {otherwise}" if otherwise else "")


class Gptq(Foreign, frozen=True):
    """GPTQ: words packed along the columns, groups by `g_idx`."""

    claims = (Claim("qweight", ("I32",), ("qzeros", "scales", "g_idx"), {"g_idx": ("I32",)}),)
    tool, parts = "GPTQ", "qweight, qzeros, scales, g_idx"


class Awq(Foreign, frozen=True):
    """AWQ: words packed along the rows; a GPTQ without `g_idx` looks alike, and config.json tells."""

    claims = (Claim("qweight", ("I32",), ("qzeros", "scales")),)
    tool, parts = "AWQ", "qweight, qzeros, scales"


class BitsAndBytes4(Foreign, frozen=True):
    """bitsandbytes in 4 bits: the weights in one column, maxima of runs, a map of levels."""

    claims = (
        Claim(
            "weight",
            ("U8",),
            (
                "weight.absmax",
                "weight.quant_map",
                "weight.nested_absmax",
                "weight.nested_quant_map",
                "weight.quant_state.bitsandbytes__nf4",
                "weight.quant_state.bitsandbytes__fp4",
            ),
            {"weight.absmax": ("F32", "U8")},
        ),
    )
    tool, parts = "bitsandbytes", "4 bits: weight.absmax, weight.quant_map"
    undo = "save it by dequantize() and save_pretrained() of transformers"


class BitsAndBytes8(Foreign, frozen=True):
    """bitsandbytes in 8 bits: a maximum for every row."""

    claims = (Claim("weight", ("I8",), ("SCB", "weight_format"), {"SCB": ("F32",)}),)
    tool, parts = "bitsandbytes", "8 bits: SCB"
    undo = BitsAndBytes4.undo


class Mlx(Foreign, frozen=True):
    """MLX: words packed along the columns, scales and biases of groups; its MXFP4 has no biases."""

    claims = (Claim("weight", ("U32",), ("scales", "biases")),)
    tool, parts = "MLX", "packed weight, scales, biases"
    undo = "undo it by `mlx_lm.convert --dequantize`"


class ReorderedPackedInt(Foreign, frozen=True):
    """Packed integers of compressed-tensors whose groups are not runs of columns (actorder)."""

    claims = (
        Claim(
            "weight_packed",
            ("I32",),
            ("weight_scale", "weight_zero_point", "weight_g_idx"),
            {"weight_g_idx": ("I32", "I64")},
        ),
    )
    tool, parts = "compressed-tensors", "columns in the order of activations: weight_g_idx"
