"""F16: IEEE 754's half precision, little-endian."""

from deepgguf.encodings.plain import Plain
from deepgguf.formats.gguf.types import GGMLType


class F16(Plain, frozen=True):
    """Elements of F16."""

    dtype = "F16"
    type = GGMLType.F16
    element = "<f2"
