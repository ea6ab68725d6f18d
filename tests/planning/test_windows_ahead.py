"""How many windows may be read ahead: what memory has room for."""

import msgspec
import pytest

import deepgguf
from deepgguf.files.files import FileFacts
from deepgguf.files.local import LocalFiles
from deepgguf.planning.ahead import windows_ahead


class Distant(LocalFiles):
    whole_windows, connections, most_connections = True, 8, 32


@pytest.mark.parametrize(("size", "windows"), [(3 * 10**9, 32), (170 * 10**9, 32), (689 * 10**9, 16)])
def test_there_are_as_many_as_half_a_gigabyte_holds_and_32_at_most(checkpoint, size, windows):
    plan = deepgguf.plan(Distant(checkpoint("v3-fp8")))
    assert windows_ahead(msgspec.structs.replace(plan, sources=(FileFacts("model", size, ""),))) == windows


def test_a_folder_is_not_read_ahead(checkpoint):
    assert windows_ahead(deepgguf.plan(checkpoint("v3-fp8"))) == 0
