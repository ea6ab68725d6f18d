"""F32: IEEE 754's single precision, little-endian."""

from deepgguf.encodings.plain import Plain
from deepgguf.formats.gguf.types import GGMLType


class F32(Plain, frozen=True):
    """Elements of F32."""

    dtype = "F32"
    type = GGMLType.F32
    element = "<f4"
