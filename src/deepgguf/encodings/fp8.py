"""FP8 as DeepSeek stores it: E4M3 codes, and one scale for every block of a matrix, as a tensor of its own.

E4M3 (arXiv 2209.05433, table 1) has bias 7, no infinities, and NaN where all but the sign is 1s.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf import kernels
from deepgguf.encodings.encoding import Bytes, Counts, Encoding, Floats, Range, Stored
from deepgguf.errors import CheckpointError, NonFiniteError
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import DTYPE_BITS, TensorHeader

_SCALE_DTYPES = ("F32", "F16", "BF16", "F8_E8M0", "U8")  # U8 holds E8M0, from writers that lack the type
_UNIT = np.float32(2.0**120)

_Size = Annotated[int, msgspec.Meta(gt=0, le=2**32)]


class Fp8(Encoding, frozen=True):
    """E4M3 with a scale for every `block` (rows, columns); the last blocks are cut to the tensor's edge.

    `scale` is the scales' dtype, `suffix` what their name adds to that of the weights. The block is the config's
    `weight_block_size`, so a checkpoint with one scale for a tensor or a row is read only if that says so.
    """

    dtype = "F8_E4M3"
    methods = ("fp8",)
    companions = ("_scale_inv", "_scale", ".scale")

    block: tuple[int, int]
    scale: str
    suffix: str = "_scale_inv"

    @classmethod
    def describe(
        cls, weights: TensorHeader, beside: Sequence[TensorHeader], quantization: Mapping[str, object]
    ) -> "Fp8":
        """The weights' form, with the scales of shape [⌈rows / block rows⌉, ⌈columns / block columns⌉] beside them.

        CheckpointError if scales are missing, appear twice, or have the wrong shape or dtype, and if the block size
        is missing or is not two sizes of 1 to 2³².
        """
        where = f"tensor {weights.name}"
        if not beside:
            raise CheckpointError(where, f"FP8, but there is no {weights.name}_scale_inv in any shard")
        if len(beside) > 1:
            raise CheckpointError(where, f"has scales twice, {beside[0].name} and {beside[1].name}")
        said = quantization.get("weight_block_size")
        if said is None:
            raise CheckpointError(where, "FP8, but config.json has no quantization_config.weight_block_size")
        try:
            block = msgspec.convert(said, tuple[_Size, _Size])
        except msgspec.ValidationError:
            found = f"quantization_config.weight_block_size is {said!r}, expected two sizes of 1 to 2^32"
            raise CheckpointError("config.json", found) from None
        if len(weights.shape) != 2:
            raise CheckpointError(where, f"FP8 of shape {list(weights.shape)}, expected two dimensions")
        scales, where = beside[0], f"tensor {beside[0].name}"
        expected = [-(-n // b) for n, b in zip(weights.shape, block, strict=True)]
        if list(scales.shape) != expected:
            blocks = f"blocks of {list(block)} in {list(weights.shape)}"
            raise CheckpointError(where, f"shape {list(scales.shape)}, expected {expected} for {blocks}")
        if scales.dtype not in _SCALE_DTYPES:
            raise CheckpointError(where, f"scales of dtype {scales.dtype}, expected F32, F16, BF16 or E8M0")
        return cls(block, scales.dtype, scales.name.removeprefix(weights.name))

    @property
    def plain(self) -> GGMLType:
        """BF16, which DeepSeek's own conversion gives."""
        return GGMLType.BF16

    @property
    def scaling(self) -> str:
        """Its blocks."""
        return f"blocks of {self.block[0]} × {self.block[1]}"

    @property
    def cut_rows(self) -> int:
        """The height of a block."""
        return self.block[0]

    @property
    def cut_cols(self) -> int:
        """The width of a block."""
        return self.block[1]

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The rows' codes, and the scales of the blocks that they touch."""
        top, bottom = first // self.block[0], (first + rows - 1) // self.block[0]
        row = -(-cols // self.block[1]) * DTYPE_BITS[self.scale] // 8
        return Range(first * cols, rows * cols), Range(top * row, (bottom - top + 1) * row)

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """Codes times scales, rounded once; errors as of `check_scales`."""
        codes, scales = stored.blobs
        values = scale_values(scales, self.scale)
        top = stored.first // self.block[0]
        across = -(-stored.cols // self.block[1])
        check_scales(values.reshape(-1, across), f"tensor {stored.tensor}{self.suffix}", top)
        return Counts(*kernels.fp8(codes, stored.cols, stored.first, values, *self.block, out, type))

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """Codes times their scales, rounded once to float32; infinite where that is too large.

        The sign, four bits of exponent and three of mantissa of E4M3, moved to where float32 has its own, make 2^-120
        of the value, as the biases are 7 and 127.
        """
        codes, scales = stored.blobs[0].reshape(stored.rows, stored.cols), self._scale_floats(stored)
        bits: NDArray[np.int32] = buffers.take("fp8 values", codes.size, np.int32).reshape(codes.shape)
        np.copyto(bits, codes.view(np.int8))  # copies of the sign fill the upper bits
        bits <<= 20
        bits &= np.int32(0x07F0_0000 - 0x8000_0000)
        values: Floats = bits.view(np.float32)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            np.setbufsize(1024)  # shorter rows than its buffer NumPy multiplies at half the speed; errstate restores it
            if np.isfinite(scales * _UNIT).all():
                scales *= _UNIT
            else:
                values *= _UNIT
            self._multiply(values, scales, stored.first % self.block[0])
        magnitude = np.bitwise_or(codes, 0x80, out=buffers.take("magnitude", bits.size).reshape(bits.shape))
        if magnitude.max(initial=0) == 0xFF:
            values[magnitude == 0xFF] = np.nan
        return values

    def _scale_floats(self, stored: Stored) -> Floats:
        """The scales as float32 [block rows, block columns], by what their dtype means."""
        data = stored.blobs[1]
        if self.scale == "BF16":
            values = (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
        elif self.scale in ("F32", "F16"):
            values = data.view("<f4" if self.scale == "F32" else "<f2").astype(np.float32)
        else:
            values = np.ldexp(np.float32(1), np.minimum(data, 254).astype(np.int32) - 127)
            values[data == 255] = np.nan
        return values.reshape(-1, -(-stored.cols // self.block[1]))

    def _multiply(self, values: Floats, scales: Floats, above: int) -> None:
        """Multiplies by the scales in place; `above` rows of the first block come before these values."""
        (rows, cols), (height, width) = values.shape, self.block
        if scales.shape[1] == 1:
            values *= scales[(above + np.arange(rows)) // height]
            return
        for nth, row in enumerate(scales):
            run = values[max(0, nth * height - above) : (nth + 1) * height - above]
            run *= np.repeat(row, min(width, cols))[:cols]


def scale_values(data: Bytes, dtype: str) -> Floats:
    """Scales as float32, of shape [n], from their bytes (little-endian); exact, as float32 holds every other dtype.

    E8M0 (OCP Microscaling Formats, section 5.4.1) is a power of two, 2^(v − 127); 255 is NaN.
    """
    if dtype == "F32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    if dtype == "F16":
        return np.frombuffer(data, "<f2").astype(np.float32)
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    bits = np.frombuffer(data, np.uint8).astype(np.uint32) << 23  # the exponent of a float32 has the same bias
    bits[bits == 0] = 1 << 22  # 2^-127 is a denormal float32
    bits[bits == 255 << 23] = 0x7FC00000
    return bits.view(np.float32)


def check_scales(values: Floats, where: str, first_row: int = 0) -> None:
    """Raises unless every scale is finite and positive, naming the first that is not by its block's row and column.

    `values` has shape [block rows, block columns], its first row being `first_row` of the tensor's. NonFiniteError for
    NaN and Inf, CheckpointError for zero and negative: no quantizer makes these, they are signs of damage.
    """
    good = (values > 0) & np.isfinite(values)
    if good.all():
        return
    row, column = (int(i) for i in np.argwhere(~good)[0])
    value = float(values[row, column])
    error = CheckpointError if np.isfinite(value) else NonFiniteError
    raise error(where, f"the scale of block [{first_row + row}, {column}] is {value}, expected a positive number")
