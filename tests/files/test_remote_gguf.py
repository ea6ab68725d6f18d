"""A GGUF file that is elsewhere is a source as one on this machine is: a file or a split set, by any of its files."""

import shutil

import pytest

from cloud_server import cloud_server
from deepgguf import doctor, merge, patch, quantize, split, undo_patch, verify
from deepgguf.errors import GGUFError, UsageError
from golden import GOLDENS
from test_quantize_goldens import assert_made
from test_quantize_goldens import gguf as gguf  # the samples' unquantized files
from web_server import MODEL, speak_for_the_hub, web_of

GOLDEN = GOLDENS / "quantized" / "v3-bf16-Q4_K_M.json"


@pytest.fixture
def folder(gguf, tmp_path):
    """One file, and a set of three in a folder below, as publishers have them."""
    (tmp_path / "web" / "BF16").mkdir(parents=True)
    path = shutil.copy(gguf("v3-bf16", "llama.cpp"), tmp_path / "web" / "v3.gguf")
    split(path, tmp_path / "web" / "BF16" / "v3.gguf", split_max_tensors=20, manifest=False)
    return tmp_path / "web"


@pytest.fixture
def web(folder, monkeypatch, tmp_path):
    with web_of(folder) as web:
        speak_for_the_hub(monkeypatch, web, tmp_path / "none")
        yield web


def check(address, tmp_path):
    """What llama-quantize makes of the file on disk, in one file and, verified, in others."""
    report = quantize(f"{address}v3.gguf", tmp_path / "x.gguf", type="q4_k_m", jobs=2)
    assert_made(GOLDEN, tmp_path / "x.gguf")
    assert report.traffic and report.traffic.repeated == {}
    quantize(f"{address}BF16/v3-00002-of-00003.gguf", tmp_path / "y.gguf", type="q4_k_m", keep_split=True, jobs=2)
    merge(tmp_path / "y-00001-of-00003.gguf", tmp_path / "joined.gguf")
    verify(tmp_path / "joined.gguf", f"{address}BF16/v3-00003-of-00003.gguf", remake=True, jobs=2)
    verify(tmp_path / "joined.gguf", f"{address}v3.gguf", jobs=2)


def test_from_a_web_server(web, tmp_path):
    check(web.plain, tmp_path)


def test_from_the_hub(web, tmp_path):
    check(f"hf:{MODEL}/", tmp_path)


def test_from_an_object_store(folder, tmp_path):
    with cloud_server() as cloud:
        address = cloud.put_folder(folder / "BF16", "gguf/BF16").removesuffix("BF16/")
        cloud.put("gguf/v3.gguf", (folder / "v3.gguf").read_bytes())
        check(address, tmp_path)


def test_one_is_joined_patched_into_a_new_file_and_examined(web, folder, tmp_path):
    joined = merge(f"{web.plain}BF16/v3-00001-of-00003.gguf", tmp_path / "joined.gguf").files[0].path
    assert doctor(f"{web.plain}BF16/v3-00001-of-00003.gguf") == doctor(joined)
    patch(f"{web.plain}v3.gguf", tmp_path / "x.gguf", remove_key="general.name")
    patch(folder / "v3.gguf", tmp_path / "y.gguf", remove_key="general.name")
    assert (tmp_path / "x.gguf").read_bytes() == (tmp_path / "y.gguf").read_bytes()


def test_one_is_not_changed_in_place(web):
    with pytest.raises(UsageError, match="is not on this machine, and cannot be changed in place"):
        patch(f"{web.plain}v3.gguf", remove_key="general.name")
    with pytest.raises(UsageError, match="is not on this machine, and cannot be changed in place"):
        undo_patch(f"{web.plain}v3.gguf")


def test_one_that_is_not_there_is_named_and_so_is_a_file_of_its_set(web, tmp_path):
    with pytest.raises(UsageError, match=r"/plain/none\.gguf: no such file there"):
        quantize(f"{web.plain}none.gguf", tmp_path / "x.gguf", type="q4_k_m")
    del web.files["BF16/v3-00002-of-00003.gguf"]
    with pytest.raises(GGUFError, match=r"v3-00002-of-00003\.gguf: this file of a split set of 3 is missing"):
        merge(f"{web.plain}BF16/v3-00001-of-00003.gguf", tmp_path / "x.gguf")
