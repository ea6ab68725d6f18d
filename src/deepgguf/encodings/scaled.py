"""Codes with a scale for every block of a matrix: for all of it, for a row, for a group within a row, for a square.

The scales are a tensor of their own. What differs from form to form is what a code stands for.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, ClassVar

import msgspec
import numpy as np

from deepgguf.encodings.bits import E4M3
from deepgguf.encodings.encoding import Bytes, Counts, Encoding, Floats, Range, Stored
from deepgguf.errors import CheckpointError, NonFiniteError
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import DTYPE_BITS, TensorHeader

Block = tuple[int, int]
"""Rows and columns that share a scale; the last blocks are cut to the tensor's edge."""

_ALL = 1 << 40
ROW: Block = (1, _ALL)
TENSOR: Block = (_ALL, _ALL)
DEEPSEEK: Block = (128, 128)
"""What every release of DeepSeek has (arXiv 2412.19437, section 3.3.2)."""

_SHOWN = {ROW: "one for each row", TENSOR: "one for each tensor"}

FLOAT_SCALES = ("F32", "F16", "BF16")
POWER_SCALES = ("F8_E8M0", "U8")  # U8 holds E8M0, from writers that lack the type
GROUP = 32
"""Weights in a block of GGUF's types with one scale."""

SCALE_NAMES = ("weight_scale_inv", "weight_scale", "weight.scale", "scale")
"""What a layer's scales are called: by DeepSeek-V3, by llm-compressor and modelopt, by others, by DeepSeek-V4."""

_V4_NAMES = ("layers.", "mtp.")  # as DeepSeek-V4's tensors begin

_Size = Annotated[int, msgspec.Meta(gt=0, le=2**32)]
_BLOCK_KEYS = ("weight_block_size", "block_structure")


class Scaled(Encoding, frozen=True):
    """A code for every weight, a scale for every `block`; value = code's level × scale, in float32.

    `scale` is the scales' dtype, `scales` their name after the layer's.
    """

    kind: ClassVar[str] = ""
    """What messages call it."""

    scale_dtypes: ClassVar[tuple[str, ...]] = (*FLOAT_SCALES, *POWER_SCALES)
    """What scales may be stored as."""

    zero_scales: ClassVar[bool] = False
    """Whether a scale may be zero."""

    block: Block
    scale: str
    scales: str = "weight_scale_inv"

    @classmethod
    def describe(
        cls, weights: TensorHeader, beside: Sequence[TensorHeader], quantization: Mapping[str, object]
    ) -> "Scaled":
        """CheckpointError if scales are missing, appear twice, or have the wrong shape or dtype."""
        scales = only_scales(weights, beside, cls.kind)
        check_matrix(weights, cls.kind)
        block = scale_block(scales, weights.shape, quantization)
        check_dtype(scales, cls.scale_dtypes)
        return cls(block, scales.dtype, part_of(scales, weights))

    @property
    def plain(self) -> GGMLType:
        """BF16, which DeepSeek's own conversion gives."""
        return GGMLType.BF16

    @property
    def exact_plain(self) -> GGMLType:
        """F32, in which the products are made."""
        return GGMLType.F32

    @property
    def rounds_first(self) -> bool:
        """No: quantized types are made of the exact products."""
        return False

    @property
    def scaling(self) -> str:
        """Its blocks."""
        return _SHOWN.get(self.block) or f"blocks of {self.block[0]} × {self.block[1]}"

    @property
    def cut_rows(self) -> int:
        """The height of a block; 1 where all rows share a scale."""
        return 1 if self.block == TENSOR else self.block[0]

    @property
    def cut_cols(self) -> int:
        """The width of a block."""
        return self.block[1]

    def row_bytes(self, cols: int) -> int:
        """Bytes of a row's codes."""
        return cols

    def levels(self, stored: Stored, buffers: Buffers) -> Floats:
        """What the codes stand for without their scales: float32 [rows, cols], contiguous, free to be changed."""
        raise NotImplementedError

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The rows' codes, and the scales of the blocks that they touch."""
        top, bottom = first // self.block[0], (first + rows - 1) // self.block[0]
        row, scales = self.row_bytes(cols), self.across(cols) * DTYPE_BITS[self.scale] // 8
        return Range(first * row, rows * row), Range(top * scales, (bottom - top + 1) * scales)

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """Levels times scales, rounded once; errors as of `check_scales`."""
        self.checked_scales(stored)
        return super().decode(stored, type, out)

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """Levels times scales, each product rounded once to float32; infinite where that is too large."""
        values = self.levels(stored, buffers)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            self.by_block(np.multiply, values, self.scale_floats(stored), stored.first)
        return values

    def checked_scales(self, stored: Stored) -> Floats:
        """The scales, [n]; errors as of `check_scales`, with their name in the checkpoint."""
        values = scale_values(stored.blobs[1], self.scale)
        where, top = f"tensor {stored.tensor.removesuffix('weight')}{self.scales}", stored.first // self.block[0]
        check_scales(values.reshape(-1, self.across(stored.cols)), where, top, zero=self.zero_scales)
        return values

    def scale_floats(self, stored: Stored) -> Floats:
        """The scales as float32 [block rows, block columns], by what their dtype means."""
        data = stored.blobs[1]
        if self.scale == "BF16":
            values = (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
        elif self.scale in ("F32", "F16"):
            values = data.view("<f4" if self.scale == "F32" else "<f2").astype(np.float32)
        elif self.scale == "F8_E4M3":
            values = E4M3[data]
        else:
            values = np.ldexp(np.float32(1), np.minimum(data, 254).astype(np.int32) - 127)
            values[data == 255] = np.nan
        return values.reshape(-1, self.across(stored.cols))

    def by_block(self, operation: np.ufunc, values: Floats, operands: Floats, first: int) -> None:
        """Applies the operand of its block to each of `values` in place; they are rows from `first` on."""
        (rows, cols), (height, width) = values.shape, self.block
        above = first % height
        if operands.shape[1] == 1:
            operation(values, operands[(above + np.arange(rows)) // height], out=values)
            return
        if height == 1 and cols % width == 0:
            groups = values.reshape(rows, -1, width)
            operation(groups, operands[..., None], out=groups)
            return
        for nth, row in enumerate(operands):
            run = values[max(0, nth * height - above) : (nth + 1) * height - above]
            operation(run, np.repeat(row, min(width, cols))[:cols], out=run)

    @property
    def _by_groups(self) -> bool:
        """Whether a block of 32 weights has one scale, as blocks of GGUF have, of a dtype that is an F16 as a rule."""
        return self.block[1] % GROUP == 0 and self.scale in ("F16", "BF16")

    def pack_scales(self, stored: Stored, blocks: Bytes, type: GGMLType) -> None:
        """Writes the scale of every block of 32 weights as F16 into its first two bytes; `blocks`, of `type`, is uint8
        [n, bytes].

        Errors as of `check_scales`; NonFiniteError for a scale that F16 does not hold as it is.
        """
        scales = self.checked_scales(stored).reshape(-1, self.across(stored.cols))
        with np.errstate(over="ignore", under="ignore"):
            halves = scales.astype(np.float16)
        lost = halves != scales
        if lost.any():
            found = f"has the scale {scales[lost][0]:g}, which F16, as {type.name} has it, does not hold exactly"
            advice = f'choose `type="{type.name.lower()}"`, which rounds the weights anew, or `type="f32"`'
            raise NonFiniteError(f"tensor {stored.tensor}", found, advice)
        rows = (stored.first % self.block[0] + np.arange(stored.rows)) // self.block[0]
        columns = np.arange(stored.cols // GROUP) * GROUP // self.block[1]
        blocks[:, :2] = halves[rows[:, None], columns].reshape(-1, 1).view(np.uint8)

    def across(self, cols: int) -> int:
        """Blocks side by side in `cols` columns."""
        return -(-cols // self.block[1])


def part_of(tensor: TensorHeader, weights: TensorHeader) -> str:
    """The name of one of the tensors of a layer, after the layer's."""
    return tensor.name.removeprefix(_layer(weights))


def _layer(weights: TensorHeader) -> str:
    return weights.name[: weights.name.rindex(".") + 1]


def only_scales(weights: TensorHeader, beside: Sequence[TensorHeader], kind: str) -> TensorHeader:
    """The scales among the companions `beside`; CheckpointError if there are none, or two."""
    scales = [header for header in beside if header.name.endswith(SCALE_NAMES)]
    if not scales:
        usual = "weight_scale_inv" if kind == "FP8" else "weight_scale"
        name = _layer(weights) + ("scale" if weights.name.startswith(_V4_NAMES) else usual)
        advice = "download the shard that has it, or compare with the original checkpoint"
        raise CheckpointError(f"tensor {weights.name}", f"{kind}, but there is no {name} in any shard", advice)
    if len(scales) > 1:
        raise CheckpointError(f"tensor {weights.name}", f"has scales twice, {scales[0].name} and {scales[1].name}")
    return scales[0]


def check_matrix(weights: TensorHeader, kind: str) -> None:
    """CheckpointError unless the tensor has two dimensions."""
    if len(weights.shape) != 2:
        found = f"{kind} of shape {list(weights.shape)}, expected two dimensions"
        raise CheckpointError(f"tensor {weights.name}", found)


def check_dtype(scales: TensorHeader, dtypes: Sequence[str]) -> None:
    """CheckpointError unless the scales are of one of `dtypes`."""
    if scales.dtype not in dtypes:
        shown = list(dict.fromkeys("E8M0" if dtype in POWER_SCALES else dtype for dtype in dtypes))
        expected = ", ".join(shown[:-1]) + f" or {shown[-1]}" if len(shown) > 1 else shown[0]
        raise CheckpointError(f"tensor {scales.name}", f"scales of dtype {scales.dtype}, expected {expected}")


def check_grid(scales: TensorHeader, shape: tuple[int, ...], block: Block) -> None:
    """CheckpointError unless there is one of `scales` for each block of a matrix of this shape."""
    if scales.shape != _grid(shape, block):
        blocks = f"blocks of {list(block)} in {list(shape)}"
        found = f"shape {list(scales.shape)}, expected {list(_grid(shape, block))} for {blocks}"
        advice = "compare the sizes of blocks in quantization_config with the original's"
        raise CheckpointError(f"tensor {scales.name}", found, advice)


def scale_block(scales: TensorHeader, shape: tuple[int, ...], quantization: Mapping[str, object]) -> Block:
    """The blocks that `scales` are for in a matrix of this shape: as config.json says, unless there is one scale for
    each row or for all. Where it says nothing, DeepSeek's, if they fit.

    CheckpointError if they fit nothing, or what config.json says is not a size.
    """
    declared = declared_block(quantization)
    if declared is not None and scales.shape == _grid(shape, declared):
        return declared
    if prod(scales.shape) == 1:
        return TENSOR
    if scales.shape in ((shape[0],), (shape[0], 1)):
        return ROW
    if declared is None and scales.shape != _grid(shape, DEEPSEEK):
        found = f"shape {list(scales.shape)} for weights of {list(shape)}, but config.json says no size of blocks"
        advice = "add quantization_config.weight_block_size, as the original has it"
        raise CheckpointError(f"tensor {scales.name}", found, advice)
    check_grid(scales, shape, declared or DEEPSEEK)
    return declared or DEEPSEEK


def declared_block(quantization: Mapping[str, object]) -> Block | None:
    """`weight_block_size` (DeepSeek), `block_structure` or `group_size` (compressed-tensors); None without them.

    CheckpointError if a block is not two sizes of 1 to 2³².
    """
    key = next((key for key in _BLOCK_KEYS if quantization.get(key) is not None), None)
    if key is None:
        size = quantization.get("group_size")
        return (1, size) if isinstance(size, int) and size > 0 else None
    said = quantization[key]
    try:
        sides = [int(side) for side in said.split("x")] if isinstance(said, str) else said
        return msgspec.convert(sides, tuple[_Size, _Size])
    except (msgspec.ValidationError, ValueError):
        found = f"quantization_config.{key} is {said!r}, expected two sizes of 1 to 2^32"
        raise CheckpointError("config.json", found) from None


def _grid(shape: tuple[int, ...], block: Block) -> tuple[int, ...]:
    return tuple(-(-n // b) for n, b in zip(shape, block, strict=True))


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
    if dtype == "F8_E4M3":
        return E4M3[np.frombuffer(data, np.uint8)]
    bits = np.frombuffer(data, np.uint8).astype(np.uint32) << 23  # the exponent of a float32 has the same bias
    bits[bits == 0] = 1 << 22  # 2^-127 is a denormal float32
    bits[bits == 255 << 23] = 0x7FC00000
    return bits.view(np.float32)


def check_scales(values: Floats, where: str, first_row: int = 0, *, zero: bool = False) -> None:
    """Raises unless every scale is finite and positive, naming the first that is not by its block's row and column.

    `values` has shape [block rows, block columns], its first row being `first_row` of the tensor's. NonFiniteError for
    NaN and Inf, CheckpointError for negative and, unless allowed, zero: no quantizer makes these, they are signs of
    damage.
    """
    good = ((values > 0) | (zero & (values == 0))) & np.isfinite(values)
    if good.all():
        return
    row, column = (int(i) for i in np.argwhere(~good)[0])
    value = float(values[row, column])
    error = CheckpointError if np.isfinite(value) else NonFiniteError
    found = f"the scale of block [{first_row + row}, {column}] is {value}, expected a positive number"
    # Nothing but zeros is a hole in a file, where a download has stopped; or a sample has no weights on purpose.
    empty = "" if values.any() else "; a sample made with `sparse=True` has no weights"
    raise error(where, found, f"compare the shard's checksum with the original's{empty}")
