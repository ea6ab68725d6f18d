"""A split set is read as one, from any of its files, and nothing in it may contradict the rest."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from deepgguf.errors import GGUFError
from deepgguf.formats.gguf.encode import encode_header, lay_out
from deepgguf.formats.gguf.split_set import read_split_set, split_path
from deepgguf.formats.gguf.types import GGMLType, Value, ValueType


def write_part(
    path: Path,
    number: int,
    count: int,
    total: int,
    tensor: str,
    changed: Mapping[str, Value | None] = MappingProxyType({}),
) -> Path:
    keys: dict[str, Value | None] = {
        "split.no": Value(ValueType.UINT16, number),
        "split.count": Value(ValueType.UINT16, count),
        "split.tensors.count": Value(ValueType.INT32, total),
    }
    tensors = lay_out([(tensor, GGMLType.F32, (8,))])
    path.write_bytes(
        encode_header({key: value for key, value in {**keys, **changed}.items() if value}, tensors) + bytes(32)
    )
    return path


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return [write_part(tmp_path / split_path("model", n, 3), n, 3, 3, f"blk.{n}.w") for n in range(3)]


def test_the_files_are_numbered_from_one() -> None:
    assert split_path("model", 0, 3) == "model-00001-of-00003.gguf"


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_file_of_a_set_gives_the_whole_set_in_order(parts: list[Path], given: int) -> None:
    headers = read_split_set(parts[given])
    assert [header.path for header in headers] == list(map(str, parts))
    assert [header.tensors[0].name for header in headers] == ["blk.0.w", "blk.1.w", "blk.2.w"]


def test_a_whole_file_is_a_set_of_one(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(encode_header({}, ()))
    assert [header.path for header in read_split_set(path)] == [str(path)]


def test_a_set_of_one_may_have_any_name(tmp_path: Path) -> None:
    path = write_part(tmp_path / "model.gguf", 0, 1, 1, "w")
    assert len(read_split_set(path)) == 1


@pytest.mark.parametrize("given", [0, 2])
def test_a_missing_file_is_named(parts: list[Path], given: int) -> None:
    parts[1].unlink()
    with pytest.raises(GGUFError, match=r"model-00002-of-00003\.gguf: this file of a split set of 3 is missing;"):
        read_split_set(parts[given])


def test_of_several_missing_files_the_first_is_named_and_the_others_counted(parts: list[Path]) -> None:
    parts[0].unlink()
    parts[1].unlink()
    with pytest.raises(GGUFError, match=r"model-00001-of-00003\.gguf: .*missing \(and 1 more\)"):
        read_split_set(parts[2])


def test_a_renamed_file_is_refused_with_the_name_it_must_have(parts: list[Path]) -> None:
    renamed = parts[1].rename(parts[1].with_name("second.gguf"))
    with pytest.raises(GGUFError, match=r"second\.gguf: is file 2 of 3.* NAME-00002-of-00003\.gguf"):
        read_split_set(renamed)


def test_a_file_under_another_files_name_is_refused(parts: list[Path]) -> None:
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(GGUFError, match=r"model-00002-of-00003\.gguf: split\.no is 2, and by its name the file has 1"):
        read_split_set(parts[0])


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"split.no": None}, r"no key split\.no"),
        ({"split.count": None}, r"no key split\.count"),
        ({"split.tensors.count": None}, r"no key split\.tensors\.count"),
        ({"split.no": Value(ValueType.UINT32, 1)}, r"split\.no has type UINT32, and must be UINT16"),
        ({"split.count": Value(ValueType.UINT16, 4)}, r"split\.count is 4, and 3 in another file"),
        (
            {"split.tensors.count": Value(ValueType.UINT32, 3)},
            r"split\.tensors\.count has type UINT32, and must be INT32",
        ),
        ({"split.tensors.count": Value(ValueType.INT32, 4)}, r"split\.tensors\.count is 4, and the set has 3"),
        ({"split.tensors.count": Value(ValueType.INT32, -1)}, r"split\.tensors\.count is -1, and the set has 3"),
    ],
)
def test_a_file_that_contradicts_the_set_is_named(
    parts: list[Path], changed: dict[str, Value | None], problem: str
) -> None:
    write_part(parts[1], 1, 3, 3, "blk.1.w", changed)
    with pytest.raises(GGUFError, match=rf"model-00002-of-00003\.gguf: .*{problem}"):
        read_split_set(parts[0])


def test_a_number_beyond_the_count_is_refused(tmp_path: Path) -> None:
    path = write_part(tmp_path / split_path("model", 3, 3), 3, 3, 1, "w")
    with pytest.raises(GGUFError, match=r"split\.no is 3, and split\.count 3"):
        read_split_set(path)


def test_a_tensor_in_two_files_is_refused_with_both(parts: list[Path]) -> None:
    write_part(parts[2], 2, 3, 3, "blk.0.w")
    with pytest.raises(
        GGUFError, match=r"model-00003-of-00003\.gguf: tensor 'blk\.0\.w' is also in .*model-00001-of-00003"
    ):
        read_split_set(parts[0])
