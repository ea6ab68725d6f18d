"""Single files at addresses: what is read of them, and that a local folder needs nothing of that."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import deepgguf
from deepgguf.errors import GGUFError, OutputError, UsageError
from deepgguf.files.find import find_file
from golden_samples import Checkpoint
from web_server import COMMIT, MODEL, Web, speak_for_the_hub, web_of

IMATRIX = Path(__file__).parent.parent / "goldens" / "imatrix" / "imatrix-v2-lite.gguf"


@pytest.fixture
def converted(checkpoint: Checkpoint, tmp_path):
    """A split set and a single file, in a folder below."""
    source, folder = checkpoint("v2-lite"), tmp_path / "served" / "q8"
    folder.mkdir(parents=True)
    deepgguf.convert(source, folder / "model.gguf", type="q8_0", split_max_size="1M")
    deepgguf.convert(source, folder / "one.gguf", type="q8_0")
    return folder


@pytest.fixture
def web(converted, monkeypatch, tmp_path):
    shutil.copy(IMATRIX, converted.parent / "imatrix.gguf")
    with web_of(converted.parent) as served:
        speak_for_the_hub(monkeypatch, served, tmp_path / "none")
        yield served


def without_paths(description):
    return (
        [(file.size, file.tensors, file.data_offset) for file in description.files],
        description.tensors,
        description.keys,
    )


def test_a_file_of_the_hub_is_inspected_by_its_header_alone(web, converted):
    remote, local = deepgguf.inspect(f"hf:{MODEL}/q8/one.gguf"), deepgguf.inspect(converted / "one.gguf")
    assert without_paths(remote) == without_paths(local)
    assert remote.files[0].path == f"hf:{MODEL}/q8/one.gguf"
    assert web.sent["bytes"] < remote.files[0].size


def test_of_a_split_set_every_header_is_read(web, converted):
    first = next(converted.glob("*-00001-of-*")).name
    local = deepgguf.inspect(converted / first)
    assert len(local.files) > 1
    for address in (f"{web.plain}q8/{first}", f"hf:{MODEL}@{COMMIT}/q8/{first}"):
        assert without_paths(deepgguf.inspect(address)) == without_paths(local)


def test_a_split_set_that_is_not_whole_names_the_file_that_is_missing(web, converted):
    first, second = sorted(path.name for path in converted.glob("*-of-*.gguf"))[:2]
    del web.files[f"q8/{second}"]
    with pytest.raises(GGUFError, match=f"^{web.plain}q8/{second}: this file of a split set"):
        deepgguf.inspect(f"{web.plain}q8/{first}")


def test_a_file_that_is_not_there_is_named(web):
    with pytest.raises(UsageError, match=f"^hf:{MODEL}/q8/none.gguf: the model {MODEL} has no such file"):
        deepgguf.inspect(f"hf:{MODEL}/q8/none.gguf")
    with pytest.raises(UsageError, match="none.gguf: no such file there"):
        deepgguf.inspect(f"{web.plain}none.gguf")


def test_a_file_at_an_address_is_not_verified(web):
    with pytest.raises(UsageError, match="verify reads the whole file, more than once; download it first"):
        deepgguf.verify(f"{web.plain}q8/one.gguf")


@pytest.mark.parametrize(
    ("page", "name"),
    [
        (f"https://huggingface.co/{MODEL}/resolve/main/q8/one.gguf?download=true", "q8/one.gguf"),
        (f"https://huggingface.co/{MODEL}/blob/main/imatrix.gguf", "imatrix.gguf"),
        (f"hf://{MODEL}/imatrix.gguf", "imatrix.gguf"),
    ],
)
def test_a_file_s_page_on_the_hub_is_the_file(web, page, name):
    files, found = find_file(page, "a file")
    assert (files.place, found) == (f"hf:{MODEL}@{COMMIT}", name)


def test_an_importance_matrix_at_an_address_makes_the_same_file(web, checkpoint, tmp_path):
    options = {"type": "iq3_xxs", "jobs": 1}
    deepgguf.convert(checkpoint("v2-lite"), tmp_path / "near.gguf", imatrix=web_of_path(web), **options)
    deepgguf.convert(checkpoint("v2-lite"), tmp_path / "far.gguf", imatrix=f"{web.plain}imatrix.gguf", **options)
    deepgguf.convert(checkpoint("v2-lite"), tmp_path / "hub.gguf", imatrix=f"hf:{MODEL}/imatrix.gguf", **options)
    near = (tmp_path / "near.gguf").read_bytes()
    assert (tmp_path / "far.gguf").read_bytes() == near
    assert (tmp_path / "hub.gguf").read_bytes() == near


def test_an_importance_matrix_that_is_not_there_is_the_user_s_to_look_for(web, checkpoint):
    with pytest.raises(UsageError, match="none.gguf: no such file there; give the address of an importance matrix"):
        deepgguf.plan(checkpoint("v2-lite"), type="iq3_xxs", imatrix=f"{web.plain}none.gguf")


def web_of_path(web: Web) -> Path:
    return web.files["imatrix.gguf"].held


def test_a_copy_that_finds_no_room_is_an_error_that_says_where(web, checkpoint, monkeypatch, tmp_path):
    (tmp_path / "small").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "small"))
    with pytest.raises(OutputError, match="set TMPDIR"):
        deepgguf.plan(checkpoint("v2-lite"), type="iq3_xxs", imatrix=f"{web.plain}imatrix.gguf")


def test_a_local_folder_needs_nothing_of_a_network(checkpoint, tmp_path):
    code = (
        "import sys, deepgguf\n"
        f"deepgguf.convert({str(checkpoint('v2-lite'))!r}, {str(tmp_path / 'a.gguf')!r})\n"
        "print([name for name in ('http.client', 'ssl', 'huggingface_hub', 'obstore', 'httpx', 'deepgguf.files.network.remote')"
        " if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
