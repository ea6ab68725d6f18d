"""Whether BF16 weights are what FP8 weights and their scales make: the case of DeepSeek-V3, so it has to be fast.

Instead of making the expected bits, float32 products are compared with the bits found: a BF16 number, as the upper half
of a float32, is the nearest one if the product's bits are less than half a unit, 2^15, away. This is faster than a
table. Ties and whatever is unusual count as "not shown", and are left to the slower comparison.
"""

import numpy as np
from numpy.typing import NDArray

from deepgguf.verify.source_values import Bits, Bytes, Floats
from deepgguf.verify.workers import Scratch

_RUN = 1 << 17  # weights at a time: fewer calls count for more than a nearer cache
_HALF_UNIT = 1 << 15
_REBIASED = np.float32(2.0**120)  # E4M3 has the exponent bias 7, float32 127
_FIELDS = 0x87F00000 - (1 << 32)  # sign, the lower four bits of the exponent, the upper three of the mantissa
_ORDINARY = (2.0**-100, 2.0**7)  # scales whose products neither overflow nor underflow on the way


def surely_equal(
    data: Bytes, scales: Floats, first_row: int, block: tuple[int, int], found: Bits, scratch: Scratch
) -> bool:
    """True only if every weight of `found` is FP8 × scale in float32, rounded to the nearest BF16.

    `data` uint8 and `found` uint16 [rows, cols], the tensor's rows from `first_row`; `scales` [block rows, block
    columns] of the blocks that these rows touch; `block` the rows and columns that share a scale.
    """
    rows, cols = data.shape
    if not (np.all(scales > _ORDINARY[0]) and np.all(scales < _ORDINARY[1])):
        return False
    columns = np.arange(cols) // block[1]
    run = max(1, _RUN // cols)
    row = 0
    while row < rows:
        nth = (first_row + row) // block[0] - first_row // block[0]
        stop = min(rows, (first_row // block[0] + nth + 1) * block[0] - first_row)
        factors = scales[nth][columns] * _REBIASED
        for start in range(row, stop, run):
            end = min(stop, start + run)
            if not _run_is_equal(data[start:end], factors, found[start:end], scratch):
                return False
        row = stop
    return True


def _run_is_equal(codes: Bytes, factors: Floats, found: Bits, scratch: Scratch) -> bool:
    masked = scratch.take("fp8 codes", codes.size).reshape(codes.shape)
    np.bitwise_and(codes, 127, out=masked)
    if masked.max() == 127:  # NaN, which the arithmetic below would take for 480
        return False
    products: NDArray[np.int32] = scratch.take("fp8 products", codes.size, np.int32).reshape(codes.shape)
    np.copyto(products, codes.view(np.int8))  # the sign goes to all upper bits, and `_FIELDS` keeps one of them
    np.left_shift(products, 20, out=products)
    np.bitwise_and(products, _FIELDS, out=products)
    floats = products.view(np.float32)
    np.multiply(floats, factors, out=floats)
    widened: NDArray[np.int32] = scratch.take("fp8 found", codes.size, np.int32).reshape(codes.shape)
    np.copyto(widened, found.view(np.int16))
    np.left_shift(widened, 16, out=widened)
    # Where signs differ, the difference is 2^16 at least, after wrapping too; of zeros it is 2^31.
    np.subtract(products, widened, out=products)
    return bool(products.max() < _HALF_UNIT and products.min() > -_HALF_UNIT)
