from collections.abc import Iterator

import pytest

from deepgguf import kernels


@pytest.fixture(params=kernels.levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each SIMD level of this machine in turn, for the test that asks for it."""
    before = kernels.active()
    yield kernels.select(request.param)
    kernels.select(before)
