import sys
from types import FrameType

import msgspec
from small_checkpoints import small_v3

import deepgguf
from deepgguf.encodings.encoding import Counts
from deepgguf.planning.numbering import Numbering
from deepgguf.run.file_job import FileJob
from deepgguf.run.journal import Finished, JournalHeader
from deepgguf.run.manifest import make_manifest
from deepgguf.run.tally import Tally


def test_a_piece_stays_finished_while_its_tensor_becomes_finished(tmp_path):
    """The threads that take tasks ask meanwhile."""
    tally = Tally(Numbering(deepgguf.plan(small_v3(tmp_path / "v3")).files[0], 512), allow_nonfinite=False)
    found: list[bool] = []

    def ask(frame: FrameType, event: str, arg: object) -> object:
        if frame.f_code.co_name == "_finish_tensor":
            found.append(tally.is_finished(0))
        return ask

    before = sys.gettrace()
    sys.settrace(ask)
    try:
        number = 0
        while not found:
            tally.finish(Finished(number, bytes(16), Counts()))
            number += 1
    finally:
        sys.settrace(before)
    assert number > 1
    assert len(tally.results) == 1
    assert all(found)


def test_a_manifests_digests_are_those_of_the_tensors_with_their_names(tmp_path):
    plan = deepgguf.plan(small_v3(tmp_path / "v3"), tmp_path / "x.gguf")
    (report,) = plan.run().files
    (file,) = plan.files
    job = FileJob(report.path, file, Numbering(file, plan.piece_weights), JournalHeader("", (), ""))
    shuffled = msgspec.structs.replace(report, tensors=report.tensors[::-1])
    assert make_manifest(plan, job, "", shuffled) == make_manifest(plan, job, "", report)
