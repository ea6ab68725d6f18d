"""The recipes by name: what llama-quantize calls file types."""

from collections.abc import Mapping

import msgspec

from deepgguf.formats.gguf.types import GGMLType


class Recipe(msgspec.Struct, frozen=True):
    """A mixture of types that has a name.

    `file_type` is the value of `general.file_type` (llama.h, enum llama_ftype); `type` is what a tensor gets for which
    no rule says otherwise (llama-quant.cpp, llama_ftype_get_default_type).
    """

    name: str
    file_type: int
    type: GGMLType


RECIPES: Mapping[str, Recipe] = {
    name: Recipe(name, file_type, type)
    for name, file_type, type in (
        ("q4_0", 2, GGMLType.Q4_0),
        ("q4_1", 3, GGMLType.Q4_1),
        ("q8_0", 7, GGMLType.Q8_0),
        ("q5_0", 8, GGMLType.Q5_0),
        ("q5_1", 9, GGMLType.Q5_1),
        ("q2_k", 10, GGMLType.Q2_K),
        ("q3_k_s", 11, GGMLType.Q3_K),
        ("q3_k_m", 12, GGMLType.Q3_K),
        ("q3_k_l", 13, GGMLType.Q3_K),
        ("q4_k_s", 14, GGMLType.Q4_K),
        ("q4_k_m", 15, GGMLType.Q4_K),
        ("q5_k_s", 16, GGMLType.Q5_K),
        ("q5_k_m", 17, GGMLType.Q5_K),
        ("q6_k", 18, GGMLType.Q6_K),
        ("q2_k_s", 21, GGMLType.Q2_K),
        ("iq4_nl", 25, GGMLType.IQ4_NL),
        ("iq4_xs", 30, GGMLType.IQ4_XS),
        ("mxfp4_moe", 38, GGMLType.MXFP4),
    )
}
