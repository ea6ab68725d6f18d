"""Split sets: files made one by one are byte-identical to those made together."""

from deepgguf import convert


def test_files_of_a_set_made_one_by_one_equal_those_made_together(checkpoint, tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    alone.mkdir()
    made = convert(checkpoint("v3-fp8"), together / "model.gguf", target="llama.cpp", split_max_tensors=16)
    names = [file.path.name for file in made.files]
    assert names == [f"model-{k:05d}-of-00004.gguf" for k in range(1, 5)]
    for k in (3, 1, 4, 2):
        report = convert(checkpoint("v3-fp8"), alone / "model.gguf", target="llama.cpp", split_max_tensors=16, part=k)
        assert [file.path.name for file in report.files] == [names[k - 1]]
    for name in names:
        assert (alone / name).read_bytes() == (together / name).read_bytes()
        assert (alone / f"{name}.json").read_bytes() == (together / f"{name}.json").read_bytes()
