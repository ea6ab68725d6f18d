"""The recipes by name: what llama-quantize calls file types."""

from collections.abc import Mapping

import msgspec

from deepgguf.formats.gguf.types import FileType, GGMLType


class Recipe(msgspec.Struct, frozen=True):
    """A mixture of types by its name; `type` is what a tensor gets for which no rule says otherwise.

    The types are those of llama-quant.cpp, llama_ftype_get_default_type.
    """

    name: str
    type: GGMLType

    @property
    def file_type(self) -> int:
        """The value of `general.file_type`."""
        return FileType[self.name.upper()].value


RECIPES: Mapping[str, Recipe] = {
    name: Recipe(name, type)
    for name, type in (
        ("q4_0", GGMLType.Q4_0),
        ("q4_1", GGMLType.Q4_1),
        ("q8_0", GGMLType.Q8_0),
        ("q5_0", GGMLType.Q5_0),
        ("q5_1", GGMLType.Q5_1),
        ("q2_k", GGMLType.Q2_K),
        ("q3_k_s", GGMLType.Q3_K),
        ("q3_k_m", GGMLType.Q3_K),
        ("q3_k_l", GGMLType.Q3_K),
        ("q4_k_s", GGMLType.Q4_K),
        ("q4_k_m", GGMLType.Q4_K),
        ("q5_k_s", GGMLType.Q5_K),
        ("q5_k_m", GGMLType.Q5_K),
        ("q6_k", GGMLType.Q6_K),
        ("q2_k_s", GGMLType.Q2_K),
        ("iq4_nl", GGMLType.IQ4_NL),
        ("iq4_xs", GGMLType.IQ4_XS),
        ("mxfp4_moe", GGMLType.MXFP4),
    )
}
