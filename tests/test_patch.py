"""A GGUF file gets other keys, and attention as llama.cpp has it, without quantizing and without its checkpoint's weights."""

import shutil

import numpy as np
import pytest
from gguf import GGUFReader, dequantize

from deepgguf import convert, doctor, patch, quantize, split, undo_patch, verify
from deepgguf.checkpoint.gguf_source import read_gguf_source
from deepgguf.cli import main
from deepgguf.errors import GGUFError, UsageError
from deepgguf.files.local import named_file
from deepgguf.formats.gguf.decode import read_header
from deepgguf.planning.patch_gguf import Patch, header_in_place
from deepgguf.run.disk import Disk
from deepgguf.run.header_in_place import replace_header
from golden import describe_written, read_golden
from golden_samples import GROUP_KEYS


class EndsBefore(Disk):
    """Stops at the call number `call` of those that write or sync a file, of which the undo file's come first."""

    def __init__(self, call: int) -> None:
        self.left = 2 + 1 + call

    def call(self, name, function, *args):
        if name in ("write", "fsync"):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
        return super().call(name, function, *args)


def source_of(path):
    return read_gguf_source(*named_file(path, "a GGUF file"))


@pytest.fixture
def own(ollamas, tmp_path):
    return shutil.copy(ollamas, tmp_path / "own.gguf")


def test_the_file_as_ollama_makes_it_has_ollamas_keys_and_tensors(ollamas):
    written, golden = describe_written(ollamas), read_golden("ollama", "v3-bf16")
    assert written.keys == golden.keys
    assert written.tensors == golden.tensors


def test_the_checkpoints_small_files_bring_the_groups_of_experts_and_nothing_else(ollamas, checkpoint, tmp_path):
    made = patch(ollamas, tmp_path / "x.gguf", checkpoint=checkpoint("v3-bf16"))
    written = describe_written(tmp_path / "x.gguf")
    assert made.keys == GROUP_KEYS
    assert {key: written.keys[key][1] for key in GROUP_KEYS} == {GROUP_KEYS[0]: 3, GROUP_KEYS[1]: 1}
    assert written.tensors == describe_written(ollamas).tensors


def test_attention_is_cut_as_llamacpps_converter_cuts_it(ollamas, tmp_path):
    patch(ollamas, tmp_path / "x.gguf", split_kv_b=True)
    written, golden = describe_written(tmp_path / "x.gguf"), read_golden("llama.cpp", "v3-bf16")
    assert written.by_name() == golden.by_name()
    of_attention = [key for key in golden.keys if ".attention." in key]
    assert {key: written.keys[key] for key in of_attention} == {key: golden.keys[key] for key in of_attention}


def test_heads_of_quantized_attention_are_cut_exactly(ollamas, tmp_path):
    """Rows of values keep their blocks; keys, which are transposed, become F32."""
    convert_to = tmp_path / "q8.gguf"
    quantize(ollamas, convert_to, type="q8_0", jobs=2)
    patch(convert_to, tmp_path / "x.gguf", split_kv_b=True)
    before = {t.name: t for t in GGUFReader(convert_to).tensors}
    after = {t.name: t for t in GGUFReader(tmp_path / "x.gguf").tensors}
    heads, rank, nope, value = 4, 64, 32, 32
    whole = dequantize(before["blk.1.attn_kv_b.weight"].data, before["blk.1.attn_kv_b.weight"].tensor_type)
    whole = whole.reshape(heads, nope + value, rank)
    keys, values = after["blk.1.attn_k_b.weight"], after["blk.1.attn_v_b.weight"]
    assert (keys.tensor_type.name, values.tensor_type.name) == ("F32", "Q8_0")
    assert np.array_equal(keys.data.reshape(heads, rank, nope), whole[:, :nope].transpose(0, 2, 1))
    assert np.array_equal(dequantize(values.data, values.tensor_type).reshape(heads, value, rank), whole[:, nope:])


def test_what_has_room_is_patched_in_place_and_can_be_undone(own):
    before = own.read_bytes()
    made = patch(own, override_kv="deepseek2.expert_used_count=int:1")
    assert made.files == (own,)
    assert made.undo == own.with_name("own.gguf.undo")
    header = read_header(own)
    assert header.keys["deepseek2.expert_used_count"].value == 1
    assert own.read_bytes()[header.data_offset :] == before[header.data_offset :]
    undo_patch(own)
    assert own.read_bytes() == before
    assert not made.undo.exists()


def test_keys_that_go_leave_room_for_keys_that_come(own):
    offset = read_header(own).data_offset
    patch(own, remove_key="tokenizer.ggml.scores")
    header = read_header(own)
    assert "tokenizer.ggml.scores" not in header.keys
    assert header.data_offset == offset
    own.with_name("own.gguf.undo").unlink()
    patch(own, override_kv=["deepseek2.expert_group_count=int:3", "deepseek2.expert_group_used_count=int:1"])
    header = read_header(own)
    assert [header.keys[key].value for key in GROUP_KEYS] == [3, 1]
    assert header.data_offset == offset


def test_what_has_no_room_needs_a_new_file(own):
    before = own.read_bytes()
    with pytest.raises(UsageError, match=r"the new header has .* bytes, and there is room for .*`output`"):
        patch(own, override_kv=["deepseek2.expert_group_count=int:3", "deepseek2.expert_group_used_count=int:1"])
    assert own.read_bytes() == before
    assert not own.with_name("own.gguf.undo").exists()


def test_a_patch_that_can_still_be_undone_is_not_patched_over(own):
    patch(own, override_kv="deepseek2.expert_used_count=int:1")
    with pytest.raises(UsageError, match="an earlier patch can still be undone"):
        patch(own, override_kv="deepseek2.expert_used_count=int:2")


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_file_with_another_name_is_not_changed_in_place(link, own, tmp_path):
    getattr(tmp_path / "other.gguf", link)(own)
    with pytest.raises(UsageError, match="is not changed in place"):
        patch(tmp_path / "other.gguf", override_kv="deepseek2.expert_used_count=int:1")


def test_the_header_of_another_file_is_not_brought_back(own, tmp_path):
    own.with_name("own.gguf.undo").write_bytes(b"GGUF" + bytes(100))
    before = own.read_bytes()
    with pytest.raises(GGUFError):
        undo_patch(own)
    assert own.read_bytes() == before


def test_the_manifest_of_a_patched_file_is_that_of_the_new_header(checkpoint, tmp_path):
    convert(checkpoint("v3-bf16"), tmp_path / "x.gguf", jobs=2)
    patch(tmp_path / "x.gguf", override_kv="deepseek2.expert_used_count=int:1")
    assert verify(tmp_path / "x.gguf").differences == ()


@pytest.mark.parametrize("call", range(6))
def test_a_crash_leaves_the_old_header_the_new_one_or_one_that_does_not_load_and_can_be_undone(call, own):
    """Ends before the call number `call` that writes or syncs the file itself."""
    before, header = own.read_bytes(), header_in_place(source_of(own), Patch(removed=("tokenizer.ggml.scores",)))
    with pytest.raises(KeyboardInterrupt):
        replace_header(own, header, disk=EndsBefore(call))
    left = own.read_bytes()[: len(header)]
    assert left in (before[: len(header)], header) or not left.startswith(b"GGUF")
    undo_patch(own)
    assert own.read_bytes() == before


def test_a_key_that_is_not_there_is_not_removed(own):
    with pytest.raises(UsageError, match="the file has no key no.such"):
        patch(own, remove_key="no.such")


def test_a_patch_that_changes_nothing_is_said(own):
    with pytest.raises(UsageError, match="nothing in the file would change"):
        patch(own, override_kv="deepseek2.expert_used_count=int:2")


def test_another_models_small_files_are_refused(own, checkpoint):
    with pytest.raises(UsageError, match=r"deepseek2\.block_count is 27 by its config\.json, and 3 in the file"):
        patch(own, checkpoint=checkpoint("v2-lite"))


def test_an_architecture_is_renamed_with_its_keys(own, tmp_path):
    patch(own, tmp_path / "x.gguf", architecture="deepseek9")
    keys = read_header(tmp_path / "x.gguf").keys
    assert keys["general.architecture"].value == "deepseek9"
    assert "deepseek9.block_count" in keys
    assert not [key for key in keys if key.startswith("deepseek2.")]


def test_a_set_stays_a_set(ollamas, tmp_path):
    first = split(ollamas, tmp_path / "set.gguf", split_max_tensors=20).files[0].path
    made = patch(first, tmp_path / "new.gguf", split_kv_b=True)
    assert [path.name for path in made.files] == [f"new-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    whole = {t.name: t.sha256 for path in made.files for t in describe_written(path).tensors}
    assert whole == {t.name: t.sha256 for t in read_golden("llama.cpp", "v3-bf16").tensors}


def test_the_doctor_names_what_ollamas_conversion_lacks(ollamas):
    groups, attention = doctor(ollamas)
    assert "groups of experts are missing" in groups.found
    assert groups.advice == "give the small files of its checkpoint: `checkpoint`"
    assert attention.mend == {"split_kv_b": ()}


def test_the_doctor_has_nothing_to_say_of_a_conversion_for_llamacpp(checkpoint, tmp_path):
    convert(checkpoint("v3-bf16"), tmp_path / "x.gguf", target="llama.cpp", jobs=2)
    assert doctor(tmp_path / "x.gguf") == ()


DAMAGE = {
    "released without groups": (
        {"remove_key": GROUP_KEYS, "override_kv": [f"deepseek2.{key}" for key in ("block_count=int:61", "embedding_length=int:7168", "expert_count=int:256")]},
        {"override_kv": (f"{GROUP_KEYS[0]}=int:8", f"{GROUP_KEYS[1]}=int:4")},
    ),
    "as many groups used as there are": (
        {"override_kv": [f"{GROUP_KEYS[1]}=int:3"]},
        {"override_kv": (f"{GROUP_KEYS[0]}=int:1", f"{GROUP_KEYS[1]}=int:1")},
    ),
    "no end": (
        {"remove_key": "tokenizer.ggml.eos_token_id"},
        {"override_kv": ("tokenizer.ggml.eos_token_id=int:1",)},
    ),
    "an end that is no token": (
        {"override_kv": "tokenizer.ggml.eos_token_id=int:70000"},
        {"override_kv": ("tokenizer.ggml.eos_token_id=int:1",)},
    ),
    "an empty kind of scaling": (
        {"override_kv": "deepseek2.rope.scaling.type=str:"},
        {"remove_key": ("deepseek2.rope.scaling.type",)},
    ),
    "an unknown pre-tokenizer": ({"override_kv": "tokenizer.ggml.pre=str:mine"}, {}),
    "no pre-tokenizer": ({"remove_key": "tokenizer.ggml.pre"}, {}),
    "no template": ({"remove_key": "tokenizer.chat_template"}, {}),
    "a broken template": ({"override_kv": "tokenizer.chat_template=str:{% for x %}"}, {}),
    "no context": ({"remove_key": "deepseek2.context_length"}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "mend"), DAMAGE.values(), ids=DAMAGE)
def test_the_doctor_finds_what_an_engine_stumbles_over_and_the_patch_that_mends_it(damage, mend, checkpoint, tmp_path):
    convert(checkpoint("v3-bf16"), tmp_path / "sound.gguf", target="llama.cpp", jobs=2)
    patch(tmp_path / "sound.gguf", tmp_path / "x.gguf", **damage)
    (found,) = doctor(tmp_path / "x.gguf")
    assert found.mend == mend
    assert bool(found.advice) != bool(mend)
    if mend:
        patch(tmp_path / "x.gguf", tmp_path / "mended.gguf", mend=True)
        assert doctor(tmp_path / "mended.gguf") == ()


def test_undo_takes_no_other_choice(own, capsys):
    for words in (["--mend"], ["-o", "x.gguf"]):
        assert main(["patch", str(own), "--undo", *words]) == 2
        assert "--undo restores the old header and does nothing else" in capsys.readouterr().err


def test_a_patch_of_attention_is_shown_with_the_new_file_that_it_takes(own, capsys):
    assert main(["doctor", str(own)]) == 0
    assert f"deepgguf patch {own} --split-kv-b -o mended.gguf\n" in capsys.readouterr().out
