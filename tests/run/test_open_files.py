"""Files are open while they are needed, and no longer."""

import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from small_checkpoints import small_v3

import deepgguf
from golden import GOLDENS


def open_below(folder: Path) -> list[Path]:
    """The files in `folder` that this process has open."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(fd.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def test_a_plan_keeps_no_file_of_its_source_open(tmp_path):
    source = small_v3(tmp_path / "v3")
    plan = deepgguf.plan(source)
    assert open_below(source) == []
    assert plan.source.place == str(source)


def test_a_finished_run_has_closed_source_and_importance_matrix(checkpoint, tmp_path):
    source, matrix = tmp_path / "v3", tmp_path / "matrix.gguf"
    shutil.copytree(checkpoint("v3-bf16"), source)
    shutil.copy(GOLDENS / "imatrix" / "imatrix-v3-bf16.gguf", matrix)
    plan = deepgguf.plan(source, tmp_path / "x.gguf", type="q4_k_m", imatrix=matrix)
    plan.run()
    assert open_below(tmp_path) == []


A_WRITER_WITH_EVERY_TASK = """
import pickle, resource, sys
from pathlib import Path
from deepgguf.run.disk import Disk
from deepgguf.run.part_file import PartWriter

part = Path(sys.argv[1])
sent = pickle.dumps(PartWriter(Disk(), part, part.stat().st_ino).write)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
for number in range(1000):
    pickle.loads(sent)(memoryview(b"x"), number)
"""


def test_a_thousand_tasks_that_bring_their_writer_leave_no_file_open(tmp_path):
    part = tmp_path / "x.gguf.part"
    part.touch()
    subprocess.run([sys.executable, "-c", A_WRITER_WITH_EVERY_TASK, part], check=True)
    assert part.read_bytes() == b"x" * 1000
