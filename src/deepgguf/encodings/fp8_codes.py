"""What FP8 of any split of its bits has in common, beside what its codes stand for."""

from deepgguf.encodings.scaled import POWER_SCALES, Scaled
from deepgguf.formats.gguf.types import GGMLType


class Fp8Codes(Scaled, frozen=True):
    """A byte of sign, exponent and mantissa for every weight."""

    kind = "FP8"

    @property
    def exact_plain(self) -> GGMLType:
        """BF16: three bits of mantissa at most, and a scale that is a power of two as a rule."""
        return GGMLType.BF16

    @property
    def rounds_by(self) -> str:
        """E8M0 is nothing but powers of two."""
        return "" if self.scale in POWER_SCALES else "scales that are not powers of two"

    @property
    def rounds_first(self) -> bool:
        """Yes: every FP8 model is published with its conversion to BF16, and quantized from that."""
        return True
