import pytest

from deepgguf.errors import UsageError
from deepgguf.files.find import find_files
from deepgguf.files.hub_name import HubName, hub_address, hub_file_address, parse_file, parse_model


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("deepseek-ai/DeepSeek-V3", "hf:deepseek-ai/DeepSeek-V3"),
        ("deepseek-ai/DeepSeek-V3/", "hf:deepseek-ai/DeepSeek-V3"),
        ("deepseek-ai/DeepSeek-V3@v1.0", "hf:deepseek-ai/DeepSeek-V3@v1.0"),
        ("hf://deepseek-ai/DeepSeek-V3", "hf:deepseek-ai/DeepSeek-V3"),
        ("hf:a/b@refs/pr/3", "hf:a/b@refs/pr/3"),
        ("https://huggingface.co/a/b", "hf:a/b"),
        ("https://huggingface.co/a/b/tree/main", "hf:a/b@main"),
        ("hf.co/a/b", "hf:a/b"),
        ("./a/b", None),
        ("/a/b", None),
        ("a", None),
        ("a/b/c", None),
        ("s3://a/b", None),
        ("https://elsewhere.org/a/b", None),
    ],
)
def test_a_model_is_called_by_its_name_its_address_or_its_page(tmp_path, monkeypatch, name, address):
    monkeypatch.chdir(tmp_path)
    assert hub_address(name) == address


def test_a_folder_or_a_misspelled_one_is_no_name(tmp_path, monkeypatch):
    (tmp_path / "models" / "V3").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_address("models/V3") is None
    assert hub_address("models/V4") is None
    assert hub_address("hf:models/V4") == "hf:models/V4"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("hf:a/b/c.gguf", HubName("a/b", None, "c.gguf")),
        ("hf:a/b@main/c/d.gguf", HubName("a/b", "main", "c/d.gguf")),
        ("hf:a/b@refs/pr/3/c.gguf", HubName("a/b", "refs/pr/3", "c.gguf")),
        ("hf:a/b", None),
        ("a/b/c.gguf", None),
    ],
)
def test_a_file_is_called_by_its_address(address, found):
    assert parse_file(address) == found


@pytest.mark.parametrize("name", [HubName("a/b", None), HubName("a/b", "0123abc"), HubName("a/b", "x/y")])
def test_a_model_s_address_is_read_back(name):
    assert parse_model(name.address) == name


def test_a_file_s_page_is_its_address():
    page = "https://huggingface.co/a/b/blob/main/UD-Q4_K_XL/c-00001-of-00002.gguf"
    assert hub_file_address(page) == "hf:a/b@main/UD-Q4_K_XL/c-00001-of-00002.gguf"
    assert hub_file_address("https://elsewhere.org/a/b/resolve/main/c.gguf") is None


def test_an_address_of_another_scheme_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match="deepgguf reads no ftp: addresses; it reads hf:, http:, https:"):
        find_files("ftp://host/folder/")
