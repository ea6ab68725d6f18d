"""The recipes by name: what llama-quantize calls file types."""

import re
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


_NAMES = (
    "q4_0 q4_1 q8_0 q5_0 q5_1 q2_k q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m q6_k q2_k_s iq4_nl iq4_xs "
    "mxfp4_moe iq1_s iq1_m iq2_xxs iq2_xs iq2_s iq2_m iq3_xxs iq3_xs iq3_s iq3_m tq1_0 tq2_0 q1_0 q2_0"
)
_VARIANT = re.compile("_(S|M|L|MOE)$")  # of a type's mixtures
_OF_ANOTHER_NAME = {
    "iq2_s": GGMLType.IQ2_XS,
    "iq2_m": GGMLType.IQ2_S,
    "iq3_xs": GGMLType.IQ3_S,
    "iq3_m": GGMLType.IQ3_S,
}


def _type_of(name: str) -> GGMLType:
    if name in _OF_ANOTHER_NAME:
        return _OF_ANOTHER_NAME[name]
    return GGMLType.__members__.get(name.upper()) or GGMLType[_VARIANT.sub("", name.upper())]


RECIPES: Mapping[str, Recipe] = {name: Recipe(name, _type_of(name)) for name in _NAMES.split()}

NEED_IMPORTANCE = frozenset(["q2_k_s", "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m", "iq3_xxs", "iq3_xs"])
"""The recipes by which most models have tensors that llama-quantize does not make without an importance matrix."""
