"""Rows 85 to 90, 102 to 105: other files under the names that a run uses, put there before it, during it, or by another run."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from accidents import with_accident
from checkpoints import checkpoint, header, put
from command import DEEPGGUF, digest, failed, names, refused, run_deepgguf

import deepgguf
from deepgguf.errors import DeepggufError
from deepgguf.executors.threads import Threads
from deepgguf.formats.gguf.decode import read_header
from deepgguf.run.disk import Disk
from deepgguf.run.execute import execute
from deepgguf.run.settings import Settings
from golden import GOLDENS

NAME = "model.gguf"
PART, JOURNAL, MANIFEST = f"{NAME}.part", f"{NAME}.part.journal", f"{NAME}.json"
REPLACED = "another file, or another folder, has taken the place of what this run wrote"
SIZE = 7_652_992


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SHA-256 of the file that an undisturbed run writes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_deepgguf("convert", checkpoint("v3", folder / "v3"), "-o", folder / NAME).status == 0
    return digest(folder / NAME)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkpoint("v3", tmp_path / "v3")


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("DEEPGGUF_PART", str(folder / PART))
    return folder


def failing(call: str, when: str, log: Path) -> tuple[str, ...]:
    """The command line under strace, which makes a system call fail."""
    inject = f"--inject={call}:error=EIO:when={when}"
    return ("strace", "-f", "-qq", "-o", str(log), f"--trace={call}", inject, *DEEPGGUF)


@pytest.fixture
def left(source: Path, out: Path, tmp_path: Path) -> Path:
    """The folder of a run that did everything but the renames."""
    failed("convert", source, "-o", out / NAME, status=4, program=failing("rename", "1+", tmp_path / "log"))
    return out


def resumed(source: Path, out: Path, undisturbed: str, *options: str) -> None:
    """The run succeeds, gives the same bytes and leaves nothing else behind."""
    outcome = run_deepgguf("convert", source, "-o", out / NAME, *options)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert digest(out / NAME) == undisturbed
    assert names(out) == [NAME, MANIFEST]


def test_row_85_a_whole_file_in_the_place_of_the_part_never_gets_its_name(source, out):
    line = failed("convert", source, "-o", out / NAME, status=4, program=with_accident("part_replaced"))
    assert line.startswith(f"{out / PART}: {REPLACED}; ")
    assert not (out / NAME).exists()


def test_row_85_a_folder_that_is_replaced_keeps_its_files_and_the_work_is_resumed_where_it_went(
    source, out, tmp_path, undisturbed
):
    line = failed("convert", source, "-o", out / NAME, status=4, program=with_accident("folder_replaced"))
    assert line.startswith(f"{out / PART}: {REPLACED}; ")
    assert not (out / NAME).exists()
    assert (out / PART).stat().st_size == SIZE
    resumed(source, tmp_path / "moved", undisturbed, "--resume")


def test_row_85_a_stranger_s_file_in_the_place_of_the_part_is_not_written_into(source, out):
    line = failed("convert", source, "-o", out / NAME, status=4, program=with_accident("part_replaced_early"))
    assert line.startswith(f"{out / PART}: {REPLACED}; ")
    assert (out / PART).read_bytes() == b"precious"


def test_row_85_a_stranger_s_file_in_the_place_of_the_journal_stays(source, out, undisturbed):
    outcome = run_deepgguf("convert", source, "-o", out / NAME, program=with_accident("journal_replaced"))
    assert (outcome.status, digest(out / NAME)) == (0, undisturbed)
    assert (out / JOURNAL).read_bytes() == b"precious"


@pytest.mark.parametrize("name", [PART, JOURNAL])
def test_row_86_a_hard_link_is_not_written_through(source, left, tmp_path, undisturbed, name):
    precious = tmp_path / "precious"
    shutil.copy(left / name, precious)
    (left / name).unlink()
    os.link(precious, left / name)
    before = precious.read_bytes()
    line = refused("convert", source, "-o", left / NAME, "--resume", folder=tmp_path, status=4)
    found = "has another name too (a hard link), and resuming would write into the file there"
    assert line == f"{left / name}: {found}; look at it, then discard it with --restart"
    resumed(source, left, undisturbed, "--restart")
    assert precious.read_bytes() == before


def test_row_86_a_fifo_in_place_of_the_journal_is_refused(source, left):
    (left / JOURNAL).unlink()
    os.mkfifo(left / JOURNAL)
    line = refused("convert", source, "-o", left / NAME, "--resume", folder=left, status=4)
    assert line == f"{left / JOURNAL}: is not a regular file; look at it, then discard it with --restart"


def same_file(matrix: Path, output: Path) -> None:
    matrix.rename(output)


def hard_link(matrix: Path, output: Path) -> None:
    os.link(matrix, output)


@pytest.mark.parametrize("give", [same_file, hard_link])
@pytest.mark.parametrize("name", [NAME, PART, MANIFEST])
def test_row_87_an_importance_matrix_under_a_name_of_the_output_is_one_of_the_inputs(
    source, out, tmp_path, give: Callable[[Path, Path], None], name
):
    matrix = tmp_path / "matrix.gguf"
    shutil.copy(GOLDENS / "imatrix" / "imatrix-v3-bf16.gguf", matrix)
    give(matrix, out / name)
    given = matrix if matrix.exists() else out / name
    arguments = ("convert", source, "-o", out / NAME, "--imatrix", given, "--type", "q4_k_m")
    for options in (["--overwrite"], ["--overwrite", "--restart"]):
        line = refused(*arguments, *options, folder=tmp_path, status=2)
        assert line == f"{out / name}: is one of the inputs; give another --output"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_row_87_an_output_that_is_another_name_of_a_file_of_the_checkpoint_is_refused(source, name):
    (source / name).rename(source / NAME)
    (source / name).symlink_to(NAME)
    line = refused("convert", source, "-o", source / NAME, "--overwrite", folder=source, status=2)
    assert line == f"{source / NAME}: is one of the inputs; give another --output"


def test_row_87_an_output_beside_the_checkpoint_s_files_is_replaced(source, undisturbed):
    arguments = ("convert", source, "-o", source / NAME, "--overwrite")
    assert [run_deepgguf(*arguments).status for _ in range(2)] == [0, 0]
    assert digest(source / NAME) == undisturbed


@pytest.mark.parametrize("option", ["--overwrite", "--no-manifest", "--restart", "--resume"])
@pytest.mark.parametrize("content", [b"", b"{}", b'{"notes": "mine"}', b"\xff\xfe"])
def test_row_87_what_is_not_a_manifest_is_neither_replaced_nor_removed(source, out, option, content):
    (out / MANIFEST).write_bytes(content)
    line = refused("convert", source, "-o", out / NAME, option, folder=out, status=2)
    assert line == f"{out / MANIFEST}: is not a manifest of deepgguf; move it away, or give another --output"


@pytest.mark.parametrize("name", [MANIFEST, f"{MANIFEST}.part"])
@pytest.mark.parametrize("option", ["--overwrite", "--no-manifest", "--resume"])
def test_row_87_a_folder_in_place_of_the_manifest_is_found_before_the_work(source, out, name, option):
    (out / name).mkdir()
    line = refused("convert", source, "-o", out / NAME, option, folder=out, status=2)
    assert line == f"{out / name}: is not a regular file; move it away, or give another --output"


def test_row_87_a_manifest_of_another_plan_is_replaced_only_with_overwrite(source, out, undisturbed):
    assert run_deepgguf("convert", source, "-o", out / NAME, "--type", "f32").status == 0
    (out / NAME).unlink()
    line = refused("convert", source, "-o", out / NAME, folder=out, status=2)
    assert line == f"{out / MANIFEST}: exists; replace it with --overwrite, or give another --output"
    resumed(source, out, undisturbed, "--overwrite")


SETS = {
    "split set": ("v3", ("--split-max-tensors", "16"), "model-00001-of-00004.gguf"),
    "mmproj": ("ocr", ("--target", "llama.cpp"), NAME),
}


class Begun(NamedTuple):
    """Runs that named all their files and ended when they had removed one journal, that of `file`.

    `other` has the same files of another source: with the same header, and other weights.
    """

    source: Path
    options: tuple[str, ...]
    file: str
    out: Path
    other: Path
    hashes: dict[str, str]

    def resume(self, *options: str) -> tuple[Path | str, ...]:
        return ("convert", self.source, "-o", self.out / NAME, *self.options, "--resume", *options)

    def check_resumed(self, *options: str) -> None:
        """The run succeeds, gives the bytes of an undisturbed one, and leaves no journal."""
        assert run_deepgguf(*self.resume(*options)).status == 0
        assert {path.name: digest(path) for path in self.out.glob("*.gguf")} == self.hashes
        assert list(self.out.glob("*.part*")) == []


@pytest.fixture(params=SETS)
def begun(request: pytest.FixtureRequest, tmp_path: Path) -> Begun:
    kind, options, file = SETS[request.param]
    folders = [tmp_path / name for name in ("mine", "other", "begun", "whole", "undisturbed")]
    for folder in folders:
        folder.mkdir()
    mine, other = (checkpoint(kind, folder / "model") for folder in folders[:2])
    zero_the_beginning_of_every_tensor(other / "model.safetensors")
    begun, whole, undisturbed = folders[2:]
    for source, folder in ((other, whole), (mine, undisturbed)):
        assert run_deepgguf("convert", source, "-o", folder / NAME, *options).status == 0
    program = failing("unlink", "2+", tmp_path / "log")
    failed("convert", mine, "-o", begun / NAME, *options, status=4, program=program)
    assert not (begun / f"{file}.part.journal").exists()
    return Begun(mine, options, file, begun, whole, {path.name: digest(path) for path in undisturbed.glob("*.gguf")})


def zero_the_beginning_of_every_tensor(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    data = 8 + int.from_bytes(content[:8], "little")
    for name, entry in header(shard).items():
        if name != "__metadata__":
            start = data + entry["data_offsets"][0]
            content[start : start + 16] = bytes(16)
    put(shard, bytes(content))


def test_row_88_a_set_whose_journals_are_partly_removed_is_resumed(begun):
    begun.check_resumed()


@pytest.mark.parametrize("taken", [("",), ("", ".json")], ids=["weights", "weights and manifest"])
def test_row_88_a_file_of_another_source_is_not_taken_for_one_of_the_set(begun, taken):
    for suffix in taken:
        shutil.copy(begun.other / f"{begun.file}{suffix}", begun.out / f"{begun.file}{suffix}")
    line = refused(*begun.resume(), folder=begun.out, status=2)
    assert line == f"{begun.out / begun.file}: exists; replace it with --overwrite, or give another --output"
    begun.check_resumed("--overwrite")


def test_row_88_a_file_that_nothing_vouches_for_is_made_again(begun):
    (begun.out / f"{begun.file}.json").unlink()
    line = refused(*begun.resume(), folder=begun.out, status=2)
    assert line == f"{begun.out / begun.file}: exists; replace it with --overwrite, or give another --output"
    begun.check_resumed("--overwrite")


def test_row_90_a_part_of_another_version_is_refused(source, left, undisturbed):
    line, newline, records = (left / JOURNAL).read_bytes().partition(b"\n")
    header = json.loads(line)
    header["version"] = "0.0.9"
    (left / JOURNAL).write_bytes(json.dumps(header).encode() + newline + records)
    line = refused("convert", source, "-o", left / NAME, "--resume", folder=left, status=4)
    found = f"deepgguf 0.0.9 began this, and this is {deepgguf.__version__}, whose bytes may differ"
    assert line == f"{left / JOURNAL}: {found}; resume it with 0.0.9, or discard it with --restart"
    resumed(source, left, undisturbed, "--restart")


def test_row_90_dirt_between_the_tensors_of_a_part_is_cleared(source, left, undisturbed):
    with (left / PART).open("r+b") as part:
        for offset in padding(left / PART):
            part.seek(offset)
            part.write(b"\xff")
    resumed(source, left, undisturbed, "--resume")


def padding(path: Path) -> list[int]:
    """The first byte behind every tensor that the next one does not follow at once, by the independent reader."""
    found = read_header(path)
    ends = [found.data_offset + tensor.offset + tensor.nbytes for tensor in found.tensors]
    starts = [found.data_offset + tensor.offset for tensor in found.tensors[1:]]
    gaps = [end for end, start in zip(ends, [*starts, path.stat().st_size], strict=True) if start > end]
    assert gaps
    return gaps


@pytest.mark.parametrize("excess", [1, SIZE])
def test_row_90_a_part_that_is_too_long_is_shortened(source, left, undisturbed, excess):
    with (left / PART).open("ab") as part:
        part.write(bytes(excess))
    resumed(source, left, undisturbed, "--resume")


@pytest.mark.parametrize("size", [0, 1000, SIZE - 1])
def test_row_90_a_part_that_is_too_short_is_made_whole(source, left, undisturbed, size):
    os.truncate(left / PART, size)
    resumed(source, left, undisturbed, "--resume")


NO_JOURNAL = "has no journal, which says what of it can be relied on; bring the journal back, move it away"
FOREIGN = {"text": b"my notes", "download": b"GGUF\3\0\0\0" + bytes(range(256)), "zeros, then text": bytes(512) + b"x"}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_row_103_a_stranger_s_part_without_a_journal_stays(source, out, content, undisturbed):
    (out / PART).write_bytes(content)
    line = refused("convert", source, "-o", out / NAME, "--resume", folder=out, status=4)
    assert line == f"{out / PART}: {NO_JOURNAL}, or discard it with --restart"
    resumed(source, out, undisturbed, "--restart")


@pytest.mark.parametrize("lost", ["away", "empty"])
def test_row_103_work_whose_journal_is_lost_stays_until_it_is_back(source, left, tmp_path, undisturbed, lost):
    shutil.copy(left / JOURNAL, tmp_path)
    (left / JOURNAL).unlink() if lost == "away" else os.truncate(left / JOURNAL, 0)
    line = refused("convert", source, "-o", left / NAME, "--resume", folder=left, status=4)
    assert line == f"{left / PART}: {NO_JOURNAL}, or discard it with --restart"
    shutil.copy(tmp_path / JOURNAL, left)
    resumed(source, left, undisturbed, "--resume")


@pytest.mark.parametrize("written", [0, 4096, SIZE])
def test_row_103_a_part_that_no_work_went_into_needs_no_journal(source, left, undisturbed, written):
    (left / JOURNAL).unlink()
    data_offset = read_header(left / PART).data_offset
    os.truncate(left / PART, min(written, data_offset))
    os.truncate(left / PART, written)
    resumed(source, left, undisturbed, "--resume")


def test_row_103_the_work_of_another_output_under_this_one_s_part_stays(source, left, tmp_path, undisturbed):
    other = ("convert", source, "-o", left / "other.gguf", "--type", "q8_0")
    failed(*other, status=4, program=failing("rename", "1+", tmp_path / "log"))
    parts, swapped = (left / PART, left / "other.gguf.part"), tmp_path / "swapped"
    for old, new in zip((parts[0], parts[1], swapped), (swapped, parts[0], parts[1]), strict=True):
        shutil.move(old, new)
    line = refused("convert", source, "-o", left / NAME, "--resume", folder=left, status=4)
    found = "holds nothing that this run wrote; move it away, or discard it with --restart"
    assert line == f"{left / PART}: {found}"


def test_row_103_work_is_resumed_though_its_header_is_damaged(source, left, undisturbed):
    with (left / PART).open("r+b") as part:
        part.write(b"damaged")
    resumed(source, left, undisturbed, "--resume")


@pytest.mark.parametrize("beside", ["work", "nothing"])
def test_row_104_a_stranger_s_file_in_place_of_the_journal_is_not_removed(source, left, beside):
    if beside == "nothing":
        (left / PART).unlink()
    (left / JOURNAL).write_bytes(b"my diary")
    line = refused("convert", source, "-o", left / NAME, "--resume", folder=left, status=4)
    assert line == f"{left / JOURNAL}: is not a journal of deepgguf; move it away, or discard it with --restart"


@pytest.mark.parametrize("option", ["--resume", "--restart", "--overwrite"])
def test_row_104_a_stranger_s_file_in_place_of_the_manifest_s_part_is_not_removed(source, out, option):
    (out / f"{MANIFEST}.part").write_bytes(b"my diary")
    line = refused("convert", source, "-o", out / NAME, option, folder=out, status=2)
    assert line == f"{out / MANIFEST}.part: is not a manifest of deepgguf; move it away, or give another --output"


@pytest.mark.parametrize("written", [b"", b'{\n "fi', bytes(100)])
def test_row_104_a_manifest_that_was_begun_does_not_stop_the_next_run(source, left, undisturbed, written):
    (left / f"{MANIFEST}.part").write_bytes(written)
    resumed(source, left, undisturbed, "--resume")


class OvertakenDisk(Disk):
    """Another run begins when this one has looked for a part twice, found none, and is about to create its own."""

    def __init__(self, others: list[Path]) -> None:
        self._others, self._looked = others, 0

    def exists(self, path: Path) -> bool:
        found = super().exists(path)
        self._looked += path.name == PART
        if self._looked == 2 and path.name == PART:
            for other in self._others:
                other.write_bytes(b"of the other run")
        return found


def test_row_105_a_run_that_is_overtaken_leaves_the_other_s_journal_alone(source, out):
    others = [out / PART, out / JOURNAL]
    with pytest.raises(DeepggufError, match="another run is at work"):
        execute(deepgguf.plan(source, out / NAME), Settings(folder=out), Threads(1), disk=OvertakenDisk(others))
    assert [other.read_bytes() for other in others] == [b"of the other run"] * 2


def test_row_102_a_part_of_another_user_is_not_resumed(source, left):
    program = with_accident("another_user")
    line = refused("convert", source, "-o", left / NAME, "--resume", folder=left, status=4, program=program)
    found = f"belongs to another user (uid {os.geteuid()}), who decides what is in it"
    assert line == f"{left / PART}: {found}; look at it, then discard it with --restart"


def test_row_102_a_part_is_resumed_where_all_files_belong_to_one_user(source, left, undisturbed):
    arguments = ("convert", source, "-o", left / NAME, "--resume")
    assert run_deepgguf(*arguments, program=with_accident("squashed_user")).status == 0
    assert digest(left / NAME) == undisturbed


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_row_102_a_sample_s_tokenizer_is_not_read_through_a_symlink_out_of_its_folder(source, tmp_path, name):
    secret = tmp_path / "secret"
    (source / name).rename(secret)
    (source / name).symlink_to(secret)
    line = refused("sample", "v3", tmp_path / "made", "--tokenizer", source, folder=tmp_path, status=1)
    found = f"a symlink to {secret}, outside the checkpoint's folder"
    assert line == f"{name}: {found}; put the file itself into the folder"
