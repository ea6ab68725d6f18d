"""Windows hold every piece once, read every byte of the source once, and are all that a worker needs."""

from collections import Counter
from itertools import pairwise

import msgspec
import pytest

import deepgguf
from deepgguf import sample as make_sample
from deepgguf.checkpoint.gguf_source import read_gguf_source
from deepgguf.files.local import LocalFiles, named_file
from deepgguf.planning.numbering import Numbering
from deepgguf.planning.patch_gguf import Patch, plan_patch
from deepgguf.planning.windows import Share, window_bytes, windows

every_sample = pytest.mark.parametrize("name", ["v3-bf16", "v3-fp8", "v3-tied", "v2-lite", "ocr"])
every_target = pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
SMALL = 10_000  # weights of a piece, so that the samples' tensors have several


class Distant(LocalFiles):
    """A folder that stands for a distant one: windows are read at once, and so follow the source."""

    whole_windows = True


def planned(source, **choices):
    return msgspec.structs.replace(deepgguf.plan(Distant(source), **choices), piece_weights=SMALL)


def numbers(share: Share) -> list[tuple[int, int]]:
    return [(share.file, number) for number, _ in enumerate(share.pieces, share.number)]


@every_sample
@every_target
def test_every_piece_is_in_one_window(checkpoint, name, target):
    plan = planned(checkpoint(name), target=target)
    found = Counter(number for window in windows(plan) for share in window.shares for number in numbers(share))
    expected = {(i, n) for i, file in enumerate(plan.files) for n in range(Numbering(file, SMALL).count)}
    assert found == Counter(expected)


@every_sample
@every_target
def test_every_byte_of_every_source_tensor_is_read_in_one_window(checkpoint, name, target):
    plan = planned(checkpoint(name), target=target)
    read = sorted(range for window in windows(plan) for range in window.ranges())
    assert all(a.file < b.file or a.stop <= b.start for a, b in pairwise(read))
    sources = {source for file in plan.files for tensor in file.tensors for source in tensor.sources}
    assert sum(range.nbytes for range in read) == sum(source.nbytes for source in sources)


@every_sample
@every_target
def test_windows_of_a_folder_follow_the_outputs(checkpoint, name, target):
    plan = msgspec.structs.replace(deepgguf.plan(checkpoint(name), target=target), piece_weights=SMALL)
    found = [number for window in windows(plan) for share in window.shares for number in numbers(share)]
    assert found == [(i, n) for i, file in enumerate(plan.files) for n in range(Numbering(file, SMALL).count)]


@every_sample
def test_what_lies_side_by_side_is_one_request(checkpoint, name):
    plan = planned(checkpoint(name))
    for window in windows(plan):
        ranges = window.ranges()
        assert all(a.file != b.file or a.stop < b.start for a, b in pairwise(ranges))


def test_every_piece_of_a_share_is_of_the_share_s_output(checkpoint, tmp_path):
    deepgguf.convert(checkpoint("v3-bf16"), tmp_path / "v3.gguf", target="ollama")
    source = read_gguf_source(*named_file(tmp_path / "v3.gguf", "a GGUF file"))
    # Then attn_k_b and attn_v_b are made of one tensor, follow each other, and have a piece each.
    plan = plan_patch(source, Patch(split_kv_b=True), "cut.gguf")
    numbering = Numbering(plan.files[0], plan.piece_weights)
    shares = [share for window in windows(plan) for share in window.shares]
    for share in shares:
        for _, number in numbers(share):
            assert numbering.file.tensors[numbering.place(number).tensor].info.name == share.output.info.name


def test_both_halves_of_kv_b_are_made_of_one_reading(checkpoint):
    plan = planned(checkpoint("v3-fp8"), target="llama.cpp")
    for window in windows(plan):
        halves = Counter(share.source.name for share in window.shares if "kv_b_proj" in share.source.name)
        assert set(halves.values()) <= {2}


def test_no_window_of_a_large_model_is_larger_than_its_bound_and_few_are_small(tmp_path):
    source = make_sample("v3-fp8", tmp_path / "bench", size="bench", shards=4, sparse=True).folder
    plan = deepgguf.plan(Distant(source))
    sizes = [sum(range.nbytes for range in window.ranges()) for window in windows(plan)]
    assert window_bytes(plan) == 8 << 20
    assert max(sizes) <= 8 << 20
    assert sum(size < 2 << 20 for size in sizes) <= 0.1 * len(sizes)


def test_a_tensor_that_fits_into_a_window_is_not_parted(tmp_path):
    source = make_sample("v3-fp8", tmp_path / "bench", size="bench", shards=4, sparse=True).folder
    plan = deepgguf.plan(Distant(source))
    parts = Counter(share.source.name for window in windows(plan) for share in window.shares)
    sizes = {source.name: source.nbytes for tensor in plan.files[0].tensors for source in tensor.sources}
    assert {name for name, count in parts.items() if count > 1} == {n for n, size in sizes.items() if size > 8 << 20}


@pytest.mark.parametrize(("gigabytes", "megabytes"), [(3, 8), (300, 17), (688, 32), (1700, 32)])
def test_windows_of_a_distant_source_grow_with_it(checkpoint, gigabytes, megabytes):
    plan = planned(checkpoint("v2-lite"))
    shards = tuple(msgspec.structs.replace(shard, size=gigabytes * 10**9) for shard in plan.sources)
    assert len(shards) == 1
    assert window_bytes(msgspec.structs.replace(plan, sources=shards)) >> 20 == megabytes


def test_finished_pieces_are_left_out(checkpoint):
    plan = planned(checkpoint("v3-bf16"))
    left = [
        n for window in windows(plan, lambda file, n: n % 3 == 1) for share in window.shares for n in numbers(share)
    ]
    assert sorted(left) == [(0, n) for n in range(Numbering(plan.files[0], SMALL).count) if n % 3 == 1]
