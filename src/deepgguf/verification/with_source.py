"""A file or split set against the checkpoint that it was made from."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deepgguf.architectures import find_architecture
from deepgguf.architectures.architecture import Architecture, Model
from deepgguf.checkpoint.checkpoint import Checkpoint, read_checkpoint
from deepgguf.executors.threads import Buffers, run_in_threads
from deepgguf.files.local import Sources
from deepgguf.formats.gguf.types import PLAIN, GGUFHeader
from deepgguf.verification.compare_keys import key_differences
from deepgguf.verification.compare_slices import Comparison, compare_slice
from deepgguf.verification.counterparts import Counterparts, find_counterparts, read_source
from deepgguf.verification.file_bytes import FileBytes
from deepgguf.verification.mismatches import Mismatches
from deepgguf.verification.report import Difference, SourceCheck
from deepgguf.verification.slices import Slice, slices
from deepgguf.verification.source_names import NAMES

Progress = Callable[[int], None]

# general.architecture -> what config.json calls the model's class.
_MODELS = {
    "deepseek2": ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"),
    "deepseekocr": ("DeepseekOCRForCausalLM",),
    "deepseek2-ocr": ("DeepseekOCRForCausalLM",),
    "clip": ("DeepseekOCRForCausalLM",),
}


def check_source(
    headers: Sequence[GGUFHeader], files: Sequence[FileBytes], path: Path, *, jobs: int, progress: Progress
) -> tuple[SourceCheck, list[Difference]]:
    """Compares tensors and keys. CheckpointError if the checkpoint in `path` is at fault itself."""
    checkpoint = read_checkpoint(path)
    architecture = find_architecture(checkpoint.config, "config.json")
    model = architecture.parse(checkpoint.config, "config.json")
    value = headers[0].keys.get("general.architecture")
    name = value.value if value else None
    if not isinstance(name, str) or architecture.name not in _MODELS.get(name, ()):
        expected = " or ".join(known for known, classes in _MODELS.items() if architecture.name in classes)
        wrong = Difference("key general.architecture", f"the source is a {architecture.name}", expected, repr(name))
        return SourceCheck(checkpoint.name, 0, 0, 0, {}), [wrong]
    return _check(headers, files, checkpoint, architecture, model, name, jobs, progress)


def _check(
    headers: Sequence[GGUFHeader], files: Sequence[FileBytes], checkpoint: Checkpoint, architecture: Architecture,
    model: Model, name: str, jobs: int, progress: Progress,
) -> tuple[SourceCheck, list[Difference]]:  # fmt: skip
    assert name in NAMES
    source = read_source(architecture, model, checkpoint.shards.tensors)
    found = find_counterparts(name, headers, source)
    differences = key_differences(headers, checkpoint, found)
    differences += found.differences
    with Sources(checkpoint.shards.files) as sources:
        differences += _check_weights(headers, files, sources, found, model, jobs, progress)
        sources.check_unchanged()
    exact = sum(pair.tensor.type in PLAIN for pair in found.pairs)
    keys = sum(len(header.keys) for header in headers)
    check = SourceCheck(checkpoint.name, exact, len(found.pairs) - exact, keys, found.dropped)
    return check, differences


def _check_weights(
    headers: Sequence[GGUFHeader], files: Sequence[FileBytes], sources: Sources, found: Counterparts, model: Model,
    jobs: int, progress: Progress,
) -> list[Difference]:  # fmt: skip
    mismatches = [Mismatches(pair) for pair in found.pairs]
    weighted = any(key.startswith("quantize.imatrix.") for key in headers[0].keys)
    comparison = Comparison(sources.readinto, found.block, weighted)

    def tasks() -> Iterator[tuple[int, Slice]]:
        for number, pair in enumerate(found.pairs):
            for piece in slices(pair, model):
                yield number, piece

    def work(task: tuple[int, Slice], buffers: Buffers) -> None:
        number, piece = task
        pair = found.pairs[number]
        data = buffers.take("file", piece.nbytes)
        start = headers[pair.file].data_offset + pair.tensor.offset
        files[pair.file].readinto(start + piece.offset, data)
        wrong, squares = compare_slice(pair, piece, data, comparison, buffers)
        if wrong or squares:
            mismatches[number].add(piece.part, wrong, squares)
        progress(piece.nbytes)

    run_in_threads(jobs, tasks(), work)
    return [difference for one in mismatches for difference in one.differences()]
