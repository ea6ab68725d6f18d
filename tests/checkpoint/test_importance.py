"""Importance matrices in both formats, read as llama-quantize reads them, and errors for damaged ones."""

import json
import os
import pickle
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.checkpoint.importance import ImportanceMatrix, TensorImportance, read_importance
from deepgguf.errors import CheckpointError, DeepggufError, UsageError

GOLDENS = Path(__file__).parent.parent / "goldens" / "imatrix"
UP = "blk.0.ffn_up_exps.weight"


def write_gguf(path: Path, tensors: dict[str, np.ndarray], **keys) -> Path:
    writer = gguf.GGUFWriter(path, "", use_temp_file=False)
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", keys.get("datasets", ["text.txt", "more.txt"]))
    writer.add_uint32("imatrix.chunk_count", keys.get("chunk_count", 3))
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def floats(*values) -> np.ndarray:
    return np.array(values, np.float32)


def stack(sums: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{UP}.in_sum2": sums, f"{UP}.counts": counts}


def legacy(*entries: tuple[str, int, np.ndarray], tail: bytes = b"") -> bytes:
    body = b"".join(
        struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(values)) + values.tobytes()
        for name, calls, values in entries
    )
    return struct.pack("<i", len(entries)) + body + tail


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def unused(matrix: ImportanceMatrix) -> dict[str, tuple[int, ...]]:
    return {name: of_entry(matrix, name).unused for name in matrix.entries if of_entry(matrix, name).unused}


def of_entry(matrix: ImportanceMatrix, name: str) -> TensorImportance:
    """As many matrices as there are counts."""
    entry = matrix.entries[name]
    found = entry.of_rows(entry.size // len(entry.counts))
    assert found is not None
    return found


def all_weights(matrix: ImportanceMatrix, name: str = UP) -> np.ndarray:
    found = of_entry(matrix, name)
    return np.concatenate([matrix.source.columns(found, number) for number in range(len(found.runs))])


@pytest.mark.parametrize("checkpoint", ["v3-bf16", "v2-lite", "ocr"])
def test_every_weight_is_its_sum_over_its_experts_count(checkpoint):
    path = GOLDENS / f"imatrix-{checkpoint}.gguf"
    raw = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
    matrix = read_importance(path)
    assert {f"{name}.in_sum2" for name in matrix.entries} == {name for name in raw if name.endswith("in_sum2")}
    for name in matrix.entries:
        sums, counts = raw[f"{name}.in_sum2"], raw[f"{name}.counts"].reshape(-1, 1)
        sums = sums.reshape(len(counts), -1)
        expected = np.where(counts > 0, sums / np.maximum(counts, 1), np.float32(1))
        np.testing.assert_array_equal(all_weights(matrix, name), expected.ravel())


def test_both_forms_of_one_matrix_have_the_same_entries_and_nearly_the_same_weights():
    new, old = (read_importance(GOLDENS / f"imatrix-v3-bf16.{suffix}") for suffix in ("gguf", "dat"))
    assert new.sizes == old.sizes and len(new.sizes) == 35
    for name in new.entries:
        np.testing.assert_allclose(all_weights(new, name), all_weights(old, name), rtol=1e-6)


@pytest.mark.parametrize(
    ("file", "golden"),
    [
        ("imatrix-v3-bf16.gguf", "v3-bf16-Q4_K_M"),
        ("imatrix-v3-bf16.dat", "v3-bf16-dat-Q4_K_M"),
        ("imatrix-v2-lite.gguf", "v2-lite-Q4_K_M"),
        ("imatrix-ocr.gguf", "ocr-Q4_K_M"),
    ],
)
def test_keys_are_those_of_llama_quantize(file, golden):
    keys = json.loads((GOLDENS / f"{golden}.json").read_text())["kv"]
    expected = {key: (v["type"], v["value"]) for key, v in keys.items() if key.startswith("quantize.imatrix.")}
    assert {key: ([v.type.name], v.value) for key, v in read_importance(GOLDENS / file).keys().items()} == expected


def test_experts_without_data_are_reported_and_have_equal_weights(tmp_path):
    sums, counts = np.full((3, 1, 2), 6, np.float32), floats(2, 0, 3).reshape(3, 1)
    matrix = read_importance(write_gguf(tmp_path / "m.gguf", stack(sums, counts)))
    assert unused(matrix) == {UP: (1,)}
    assert all_weights(matrix).tolist() == [3, 3, 1, 1, 2, 2]


def test_the_ocr_samples_matrix_has_an_expert_without_data():
    assert unused(read_importance(GOLDENS / "imatrix-ocr.gguf")) == {
        f"blk.2.ffn_{part}_exps.weight": (4,) for part in ("down", "gate", "up")
    }


def test_the_columns_of_one_matrix_can_be_read_alone():
    matrix = read_importance(GOLDENS / "imatrix-ocr.gguf")
    found = of_entry(matrix, UP.replace("0", "1"))
    np.testing.assert_array_equal(matrix.source.columns(found, 2), all_weights(matrix, found.source)[2 * 256 :][:256])


def test_one_count_serves_a_whole_stack(tmp_path):
    matrix = read_importance(write_gguf(tmp_path / "m.gguf", stack(floats(2, 4, 6, 8), floats(2))))
    found = matrix.entries[UP].of_rows(2)
    assert [matrix.source.columns(found, number).tolist() for number in (0, 1)] == [[1, 2], [3, 4]]


def test_an_entry_does_not_serve_rows_that_it_does_not_divide_into(tmp_path):
    matrix = read_importance(write_gguf(tmp_path / "m.gguf", stack(floats(2, 4, 6, 8), floats(2, 2))))
    assert (matrix.entries[UP].of_rows(4), matrix.entries[UP].of_rows(3)) == (None, None)


def test_the_mean_of_the_other_experts_is_that_of_those_with_data(tmp_path):
    sums, counts = np.repeat(floats(2, 0, 9, 3), 32).reshape(4, 1, 32), floats(2, 5, 0, 3).reshape(4, 1)
    sums[3, 0, :16] = 9
    matrix = read_importance(write_gguf(tmp_path / "m.gguf", stack(sums, counts)))
    filled = of_entry(matrix, UP).filled()
    assert (filled.averaged, filled.unused) == ((1,), (2,))
    columns = [matrix.source.columns(filled, number)[[0, 31]].tolist() for number in range(4)]
    assert columns == [[1, 1], [2, 1], [1, 1], [3, 1]]


def test_the_mean_of_no_data_is_equal_weights(tmp_path):
    matrix = read_importance(write_gguf(tmp_path / "m.gguf", stack(floats(2, 4), floats(0))))
    assert matrix.source.columns(of_entry(matrix, UP).filled(), 0).tolist() == [1, 1]


@pytest.mark.parametrize(("expert", "experts"), [(0, 3), (1, 3), (2, 3), (5000, 10_000)])
def test_an_expert_with_nothing_but_zeros_has_no_data(tmp_path, expert, experts):
    values = np.ones((experts, 64), np.float32)
    values[expert] = 0
    values[:, 7] = 0
    matrix = read_importance(write(tmp_path / "m.dat", legacy((UP, 1, values.ravel()))))
    assert matrix.entries[UP].of_rows(64).unused == (expert,)


def test_counts_are_rounded_half_up(tmp_path):
    matrix = read_importance(write_gguf(tmp_path / "m.gguf", stack(floats(6, 6, 6), floats(2.5, 0.4, 1.49))))
    assert matrix.entries[UP].counts == (3, 0, 1)


def test_values_of_the_older_form_are_divided_by_the_calls(tmp_path):
    content = legacy((UP, 3, floats(1, 2)), tail=struct.pack("<ii", 7, 8) + b"text.txt")
    matrix = read_importance(write(tmp_path / "m.dat", content))
    np.testing.assert_array_equal(all_weights(matrix), floats(1, 2) / np.float32(3))
    assert (matrix.datasets, matrix.chunk_count) == (("text.txt",), 7)


@pytest.mark.parametrize("calls", [0, -4])
def test_values_of_the_older_form_without_calls_are_the_weights(tmp_path, calls):
    matrix = read_importance(write(tmp_path / "m.dat", legacy((UP, calls, floats(1, 2)))))
    assert all_weights(matrix).tolist() == [1, 2]


def test_a_matrix_without_chunks_and_dataset_has_no_keys_for_them(tmp_path):
    matrix = read_importance(write(tmp_path / "m.dat", legacy((UP, 1, floats(1)))))
    assert set(matrix.keys()) == {"quantize.imatrix.file", "quantize.imatrix.entries_count"}


def test_a_long_name_is_cut_to_what_llama_quantize_keeps(tmp_path):
    matrix = read_importance(write_gguf(tmp_path / "m.gguf", stack(floats(1), floats(1)), datasets=["ä" * 100]))
    assert matrix.keys()["quantize.imatrix.dataset"].value == "ä" * 63


def test_matrices_of_other_values_have_other_digests(tmp_path):
    digests = {
        read_importance(write_gguf(tmp_path / f"{i}.gguf", stack(floats(i), floats(1)))).source.digest
        for i in (1, 2, 1)
    }
    assert len(digests) == 2


def test_a_symlink_to_another_folder_is_the_users_choice(tmp_path):
    (tmp_path / "link.gguf").symlink_to(GOLDENS / "imatrix-ocr.gguf")
    assert read_importance(tmp_path / "link.gguf").source.file.name == "link.gguf"


def test_a_pickled_matrix_gives_the_same_weights():
    matrix = read_importance(GOLDENS / "imatrix-ocr.gguf")
    travelled = pickle.loads(pickle.dumps(matrix))
    assert (travelled.sizes, travelled.source.digest) == (matrix.sizes, matrix.source.digest)
    for name in matrix.entries:
        assert all_weights(travelled, name).tobytes() == all_weights(matrix, name).tobytes()


def test_a_file_that_changed_since_is_an_error(tmp_path):
    path = write(tmp_path / "m.dat", legacy((UP, 1, floats(1, 2))))
    matrix = read_importance(path)
    path.write_bytes(legacy((UP, 1, floats(3, 4))))
    os.utime(path, ns=(0, 0))  # a clock that is too coarse would hide it
    with pytest.raises(CheckpointError, match=r"m\.dat: changed"):
        all_weights(matrix)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"other": floats(1)}, "no tensor NAME.in_sum2"),
        ({f"{UP}.in_sum2": floats(1)}, "only one of in_sum2 and counts for blk.0"),
        (stack(floats(1), floats(1)) | {"a.counts": floats(1)}, "only one of in_sum2 and counts for a"),
        (stack(np.array([1, 2], np.float16), floats(1)), "F16 and F32, not F32"),
        (stack(floats(1, 2, 3), floats(1, 2)), "3 values, which 2 counts do not divide"),
        (stack(floats(1), floats(-1)), "count that is negative"),
        (stack(floats(1), floats(np.nan)), "count that is negative or not finite"),
        (stack(floats(1), floats(np.inf)), "count that is negative or not finite"),
        (stack(floats(1, np.nan), floats(1)), "has the value nan, expected a mean square"),
        (stack(floats(1, np.inf), floats(1)), "has the value inf, expected a mean square"),
    ],
)
def test_a_gguf_that_is_not_a_sound_importance_matrix_is_an_error(tmp_path, tensors, message):
    with pytest.raises(CheckpointError, match=rf"m\.gguf: .*{message}"):
        read_importance(write_gguf(tmp_path / "m.gguf", tensors))


def test_a_model_is_called_a_model_and_it_is_said_what_is_wanted(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "V3.gguf", "deepseek2", use_temp_file=False)
    writer.add_tensor("output.weight", floats(1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError) as raised:
        read_importance(tmp_path / "V3.gguf")
    assert str(raised.value) == (
        "V3.gguf: is a model (deepseek2), not an importance matrix: it has no tensor NAME.in_sum2; give the file that "
        "llama-imatrix made for this model, often called imatrix.gguf or imatrix.dat"
    )


@pytest.mark.parametrize("missing", ["datasets", "chunk_count", "chunk_size"])
def test_a_gguf_without_its_keys_is_an_error_that_names_the_key(tmp_path, missing):
    whole = write_gguf(tmp_path / "m.gguf", stack(floats(1), floats(1))).read_bytes()
    key = f"imatrix.{missing}".encode()
    write(tmp_path / "m.gguf", whole.replace(key, key[:-1] + b"_"))
    with pytest.raises(CheckpointError, match=rf"m\.gguf: lacks the key imatrix\.{missing}"):
        read_importance(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "byte 0: the file ends in the number of entries"),
        (struct.pack("<i", 0), "neither GGUF nor an importance matrix; give the file"),
        (struct.pack("<i", -1), "neither GGUF nor an importance matrix; give the file"),
        (b"<html>", "neither GGUF nor an importance matrix; give the file"),
        (struct.pack("<ii", 1, -5), "claims -5 bytes"),
        (struct.pack("<ii", 1, 2**31 - 1), "claims 2147483647 bytes"),
        (struct.pack("<ii", 1, 4) + b"ab", "byte 8: the file ends in the name of entry 1 of 1"),
        (struct.pack("<ii", 1, 1) + b"\xff", "not UTF-8"),
        (struct.pack("<ii1sii", 1, 1, b"a", 1, 2**31 - 1), "a claims 2147483647 values, and 0 bytes are left"),
        (struct.pack("<ii1sii", 1, 1, b"a", 1, 0), "a claims 0 values"),
        (legacy(("a", 1, floats(1)), ("a", 1, floats(1))), "a second entry for a"),
        (legacy(("a", 1, floats(1)))[:-1], "claims 1 values, and 3 bytes are left"),
        (legacy(("a", 1, floats(1)), tail=b"\1\0"), "ends in the number of chunks"),
        (legacy(("a", 1, floats(1)), tail=struct.pack("<ii", 1, 9) + b"text"), "ends in the dataset's name"),
        (legacy(("a", 1, floats(np.nan))), "a has the value nan, expected a mean square"),
    ],
)
def test_an_older_file_that_is_damaged_is_an_error_that_says_where(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=rf"m\.dat.*{message}"):
        read_importance(write(tmp_path / "m.dat", content))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"none\.gguf: no such file"):
        read_importance(tmp_path / "none.gguf")


def test_a_fifo_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    wanted = r"pipe\.gguf: a FIFO, not a regular file; give the path of an importance matrix"
    with pytest.raises(UsageError, match=wanted):
        read_importance(tmp_path / "pipe.gguf")


@pytest.mark.parametrize("sound", ["imatrix-ocr.gguf", "imatrix-v3-bf16.dat"])
def test_a_file_cut_short_anywhere_is_an_error(tmp_path, sound):
    whole = (GOLDENS / sound).read_bytes()
    for length in range(0, len(whole) - 17, len(whole) // 40):
        with pytest.raises(CheckpointError):
            read_importance(write(tmp_path / sound, whole[:length]))


@given(data=st.data())
def test_any_bytes_are_a_matrix_or_an_error(tmp_path_factory, data):
    whole = bytearray(legacy((UP, 3, floats(1, 2, 3)), ("b", 1, floats(4)), tail=struct.pack("<ii", 2, 3) + b"txt"))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    path = write(tmp_path_factory.getbasetemp() / "any.dat", bytes(whole[:cut]))
    try:
        matrix = read_importance(path)
    except DeepggufError:
        return
    assert all(np.isfinite(all_weights(matrix, name)).all() for name in matrix.entries)
