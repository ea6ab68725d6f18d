"""The points of the i-quants are those of llama.cpp, as the package gguf has them, and their bits have these digests."""

import hashlib

import gguf.quants
import numpy as np
import pytest

from deepgguf import kernels
from deepgguf.encodings.points import points
from deepgguf.formats.gguf.types import GGMLType

SETS = {
    GGMLType.IQ2_XXS: (821, "6e641d33a6f588ecbbfc8a24fee7e1446a9d6033db9fb2fd2de4e20e62611ef0"),
    GGMLType.IQ2_XS: (821, "0be9378c0c354f68ffcaab478d37d2cd74730c60ab271ec599827549abd54994"),
    GGMLType.IQ2_S: (821, "90050a5805b545127d6aced26a375b4c21bdcc6d84c1d4a7bc2ff48b16728d2f"),
    GGMLType.IQ1_S: (821, "178243565ad8ef0a64292973d70c37028ca81375f097a55c6f57370e1ba6d9f0"),
    GGMLType.IQ3_XXS: (512, "a3723a6c95cb0ecbcc29cc860043dc24b29e699aa8569f88bc47fa3c15987258"),
    GGMLType.IQ3_S: (512, "f8e48a281c5a9ec3ff28aada17999158565b540055c1dc2734ebd2778b9ad234"),
}


@pytest.mark.parametrize("type", SETS, ids=lambda type: type.name)
def test_the_bits_of_a_set_have_its_digest(type: GGMLType) -> None:
    nbytes, digest = SETS[type]
    bits = kernels.points(type)
    assert hashlib.sha256(bits[:nbytes]).hexdigest() == digest
    assert not any(bits[nbytes:])


@pytest.mark.parametrize("type", SETS, ids=lambda type: type.name)
def test_points_are_those_of_the_package_gguf(type: GGMLType) -> None:
    reference = getattr(gguf.quants, type.name)
    reference.init_grid()
    found = points(type, tuple(int(level) for level in reference.grid_map))
    np.testing.assert_array_equal(found, reference.grid.reshape(found.shape))


def test_iq1_m_has_the_points_of_iq1_s() -> None:
    assert kernels.points(GGMLType.IQ1_M) == kernels.points(GGMLType.IQ1_S)


def test_other_types_have_no_points() -> None:
    with pytest.raises(ValueError, match="not a type with points"):
        kernels.points(GGMLType.Q4_K)
