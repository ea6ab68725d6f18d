"""The module refuses sizes that would let a kernel read or write outside its buffers."""

import numpy as np
import pytest
from ours import quantizable

from deepgguf import kernels
from deepgguf.formats.gguf.types import block_of, row_bytes


def test_twenty_five_types_have_a_kernel():
    assert len(quantizable()) == 25


@pytest.mark.parametrize("type", quantizable(), ids=lambda type: type.name)
def test_a_row_of_half_a_block_is_refused(type):
    half = block_of(type).weights // 2
    with pytest.raises(ValueError, match="no whole number of blocks"):
        kernels.quantize(np.zeros(half, np.float32), half, type, None, np.empty(9, np.uint8), 9)


@pytest.mark.parametrize("type", quantizable(), ids=lambda type: type.name)
def test_a_destination_of_another_size_is_refused(type):
    size = row_bytes(type, 256)
    with pytest.raises(ValueError, match="another size"):
        kernels.quantize(np.zeros(256, np.float32), 256, type, None, np.empty(size - 1, np.uint8), size)


@pytest.mark.parametrize("type", quantizable(), ids=lambda type: type.name)
def test_importance_of_another_length_is_refused(type):
    size = row_bytes(type, 256)
    importance = np.ones(255, np.float32)
    with pytest.raises(ValueError, match="one importance weight per column"):
        kernels.quantize(np.zeros(256, np.float32), 256, type, importance, np.empty(size, np.uint8), size)
