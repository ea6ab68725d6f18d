"""Kills conversions and resumes them; prints how many, and fails an assertion if one byte differs.

`python kill_every_call.py [--random 200] [--folder /dev/shm]`: SIGKILL before every writing call of small
conversions (one file, two files, a split set) and of what is made of GGUF files, which is patched in place too; then
SIGKILL at random moments of the command line at 2 jobs.
"""

import argparse
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path

from conversions import every_call, fail_at, kill_at, plan_several, undisturbed
from failing_disks import KillingDisk
from small_checkpoints import medium_v3, small_ocr, small_v3

import deepgguf
from deepgguf.checkpoint.gguf_source import read_gguf_source
from deepgguf.files.local import named_file
from deepgguf.planning.arrange_gguf import plan_merge
from deepgguf.planning.patch_gguf import Patch, header_in_place, plan_patch
from deepgguf.planning.schema import Plan
from deepgguf.run.disk import Disk
from deepgguf.run.header_in_place import replace_header, undo_header, undo_path

SOURCE = Path(deepgguf.__file__).parents[1]  # what is tested: this tree, or what is installed


def every(folder: Path) -> None:
    v3, ocr, gguf = small_v3(folder / "v3"), small_ocr(folder / "ocr"), folder / "v3.gguf"
    deepgguf.convert(v3, gguf)
    halves = deepgguf.split(gguf, folder / "halves.gguf", split_max_tensors=16).files[0].path
    for what, source, plan, choices in (
        ("one file", v3, deepgguf.plan, {}),
        ("one file, quantized", v3, deepgguf.plan, {"type": "q4_k_m"}),
        ("text and mmproj", ocr, deepgguf.plan, {"target": "llama.cpp"}),
        ("split set of three", v3, deepgguf.plan, {"split_max_tensors": 12}),
        ("two types and an mmproj", ocr, plan_several, {"types": ("q8_0", "q5_0"), "targets": "llama.cpp"}),
        ("a GGUF file, quantized", gguf, deepgguf.plan_quantize, {"type": "q8_0"}),
        ("a split set, quantized and kept", halves, deepgguf.plan_quantize, {"type": "q8_0", "keep_split": True}),
        ("a split set, joined", halves, merged, {}),
        ("a GGUF file, its attention cut", gguf, cut, {}),
    ):
        for how, disturbed in (("killed before", kill_at), ("failing", fail_at)):
            with tempfile.TemporaryDirectory(dir=folder) as name:
                conversion = undisturbed(source, Path(name) / "undisturbed", plan, **choices)
                calls = every_call(conversion, Path(name), disturbed)
            say(f"{what}: {calls} calls, each {how} once, each resumed: same SHA-256")
    for what, change in (("a patch in place", patched), ("undoing it", undone)):
        say(
            f"{what}: {in_place(gguf, folder / 'place', change)} calls, each killed before once, each undone: same SHA-256"
        )


def merged(source: Path, output: Path) -> Plan:
    return plan_merge(read_gguf_source(*named_file(source, "a GGUF file")), output.name)


def cut(source: Path, output: Path) -> Plan:
    return plan_patch(read_gguf_source(*named_file(source, "a GGUF file")), Patch(split_kv_b=True), output.name)


def patched(path: Path, disk: Disk) -> None:
    found = read_gguf_source(*named_file(path, "a GGUF file"))
    replace_header(path, header_in_place(found, Patch(removed=("general.file_type",))), disk=disk)


def undone(path: Path, disk: Disk) -> None:
    undo_header(path, disk=disk)


def in_place(source: Path, folder: Path, change: Callable[[Path, Disk], None]) -> int:
    """Kills `change` of a copy of `source` before its first call, its second, and so on: undoing it, or undoing it again,
    brings the file back.

    Returns how many calls there are.
    """
    for k in itertools.count():
        folder.mkdir()
        path = folder / "x.gguf"
        for ending in ("", ".json"):
            shutil.copyfile(f"{source}{ending}", f"{path}{ending}")
        if change is undone:
            patched(path, Disk())
        child = os.fork()
        if not child:
            try:
                change(path, KillingDisk(k + 1))
            finally:
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        if digest(path) != digest(source) or (change is undone and undo_path(path).exists()):
            undo_header(path)
        assert digest(path) == digest(source)
        deepgguf.verify(path)
        shutil.rmtree(folder)
        if not killed:
            return k
    raise AssertionError


def at_random(folder: Path, times: int) -> None:
    source, out = medium_v3(folder / "medium"), folder / "model.gguf"
    size = sum(path.stat().st_size for path in source.iterdir())
    process = begun(source, out)
    started = time.monotonic()
    assert process.wait() == 0
    seconds, expected = time.monotonic() - started, digest(out)
    say(f"{size / 1e6:.0f} MB at 2 jobs, {seconds:.1f} s of writing, SHA-256 {expected}")
    chance, kills, late, resumed = random.Random(1), 0, 0, 0
    while kills < times:
        for path in folder.glob("model.gguf*"):
            path.unlink()
        process = begun(source, out)
        time.sleep(chance.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            late, seconds = late + 1, seconds * 0.9  # the machine has become faster
        else:
            kills += 1
            resumed += has_records(folder / "model.gguf.part.journal")
        assert not out.exists() or digest(out) == expected
        if process.returncode or not out.exists():
            assert run(source, out, "--resume").wait() == 0
        assert digest(out) == expected
        assert sorted(p.name for p in folder.glob("model.gguf*")) == ["model.gguf", "model.gguf.json"]
        if process.returncode and kills % 20 == 0:
            found = f"{resumed} of them with finished pieces in the journal; {late} runs had ended before"
            say(f"{kills} killed, {found}: all resumed, the same SHA-256")


def begun(source: Path, out: Path) -> "subprocess.Popen[bytes]":
    """A run that has just made its part."""
    process = run(source, out)
    while not out.with_name("model.gguf.part").exists() and process.poll() is None:
        time.sleep(0.001)
    return process


def has_records(journal: Path) -> bool:
    """Whether the journal has more than its first line."""
    return journal.exists() and bool(journal.read_bytes().partition(b"\n")[2])


def run(source: Path, out: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "deepgguf", "convert", str(source), "-o", str(out), "--type", "q4_k_m", *options]
    return subprocess.Popen(
        [*command, "--jobs", "2"],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        every(Path(name))
        at_random(Path(name), options.random)
