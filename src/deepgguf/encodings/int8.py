"""INT8: whole numbers of 8 bits with scales, as compressed-tensors stores them (int-quantized, W8A8)."""

from collections.abc import Mapping, Sequence

import numpy as np

from deepgguf.encodings.encoding import Bytes, Claim, Floats, Range, Stored
from deepgguf.encodings.scaled import FLOAT_SCALES, GROUP, Scaled
from deepgguf.errors import CheckpointError
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import TensorHeader


class Int8(Scaled, frozen=True):
    """(number − zero) × scale; the zeros, if `zeros`, are INT8 too, one for each scale, and 0 otherwise."""

    dtype = "I8"
    claims = (Claim("weight", ("I8",), ("weight_scale", "weight_scale_inv", "weight_zero_point")),)
    kind = "INT8"
    scale_dtypes = FLOAT_SCALES

    zeros: bool = False

    @classmethod
    def describe(
        cls, weights: TensorHeader, beside: Sequence[TensorHeader], quantization: Mapping[str, object]
    ) -> "Int8":
        """CheckpointError if scales or zeros do not fit, or config.json promises zeros that are not there."""
        scaled = super().describe(weights, beside, quantization)
        zeros = next((header for header in beside if header.name.endswith("weight_zero_point")), None)
        if zeros and (zeros.dtype, zeros.shape) != ("I8", beside[0].shape):
            found = f"{zeros.dtype} of shape {list(zeros.shape)}, expected I8 of shape {list(beside[0].shape)}"
            raise CheckpointError(f"tensor {zeros.name}", found)
        if not zeros and quantization.get("symmetric") is False:
            found = "config.json calls it asymmetric, but there is no weight_zero_point beside it"
            raise CheckpointError(f"tensor {weights.name}", found)
        return cls(scaled.block, scaled.scale, scaled.scales, zeros is not None)

    @property
    def packs_as(self) -> GGMLType | None:
        """Q8_0, whose scales are F16."""
        return GGMLType.Q8_0 if self._by_groups and not self.zeros else None

    def repack(self, stored: Stored, out: Bytes) -> None:
        """ggml-common.h, block_q8_0: the scale, then the numbers. Errors as of `pack_scales`."""
        blocks = out.reshape(-1, 2 + GROUP)
        self.pack_scales(stored, blocks, GGMLType.Q8_0)
        blocks[:, 2:] = stored.blobs[0].reshape(-1, GROUP)

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The rows' numbers, the scales of the blocks that they touch, and the zeros of these."""
        codes, scales = super().ranges(cols, first, rows)
        size = 4 if self.scale == "F32" else 2
        return (codes, scales, Range(scales.start // size, scales.nbytes // size)) if self.zeros else (codes, scales)

    def levels(self, stored: Stored, buffers: Buffers) -> Floats:
        """The numbers without their zeros."""
        numbers = stored.blobs[0].view(np.int8).astype(np.float32).reshape(stored.rows, stored.cols)
        if self.zeros:
            zeros = stored.blobs[2].view(np.int8).astype(np.float32)
            self.by_block(np.subtract, numbers, zeros.reshape(-1, self.across(stored.cols)), stored.first)
        return numbers
