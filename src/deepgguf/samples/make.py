"""Writes a sample checkpoint into a folder."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import msgspec

from deepgguf.checkpoint.tokenizer import read_tokenizer
from deepgguf.errors import OutputError, UsageError
from deepgguf.files.local import LocalFiles
from deepgguf.samples.configs import companions, config
from deepgguf.samples.deepseek_v4 import v4_tensors
from deepgguf.samples.deepseek_v4_configs import SEEDS as V4_SEEDS
from deepgguf.samples.kimi import kimi_tensors
from deepgguf.samples.kimi_configs import KINDS as KIMI_KINDS
from deepgguf.samples.kimi_configs import tokenizer_files
from deepgguf.samples.ocr_family import ocr_tensors
from deepgguf.samples.ocr_family_configs import KINDS as OCR_KINDS
from deepgguf.samples.recipe import elements
from deepgguf.samples.shards import Shard, index, scattered, split
from deepgguf.samples.tensors import SampleTensor, tensors_of

TOKENIZERS = Path(__file__).parent / "tokenizers"
_TOKENIZERS = {
    **dict.fromkeys(("v2-lite", "deepseek-moe"), "sample-v2"),
    **dict.fromkeys(V4_SEEDS, "sample-v4"),
    **dict.fromkeys(OCR_KINDS, "sample-ocr"),
}
_TIKTOKEN = TOKENIZERS / "sample-kimi" / "tiktoken.model"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")

# With these, no choice of tokens or experts is nearly a tie on the prompt of the tests, which rounding would decide.
SEEDS = {"v32": 61, "v32-bf16": 38, **V4_SEEDS}

# Elements made at a time: every step on them stays in a core's second-level cache.
PIECE = 1 << 15
WORKERS = 2


class SampleSummary(msgspec.Struct, frozen=True):
    """What was written: `nbytes` counts the tensors' bytes, `shards` the safetensors files."""

    folder: Path
    tensors: int
    nbytes: int
    shards: int


class Piece(msgspec.Struct, frozen=True):
    """The elements [start, stop) of a tensor and their offset in the file, in bytes."""

    tensor: SampleTensor
    start: int
    stop: int
    offset: int


class Form(msgspec.Struct, frozen=True):
    """How a checkpoint is laid out.

    `size` is one of `SIZES`: a few MB; for the v3 kinds also `bench` (2.2e9 parameters), for these and the v32 kinds
    `full` (the released model's shapes). `shards` is the largest number of safetensors files; `scatter` spreads scales
    and weights over different ones; `sparse` writes true headers and a hole instead of the data.
    """

    size: str = "sample"
    shards: int = 1
    scatter: bool = False
    sparse: bool = False


def make_sample(kind: str, folder: Path, form: Form, tokenizer: Path | None = None) -> SampleSummary:
    """Write a checkpoint with the structure of a real one and made-up weights (`recipe.py`) into a new or empty folder.

    `kind` is one of `KINDS`: v3 (BF16), v3-fp8 (scales for blocks of 128 × 128), v3-tied (tied embeddings), v2-lite,
    deepseek-moe, ocr, v32 (FP8, as released), v32-bf16, v4 (FP4 and FP8, as released), v4-dspark, v4-base, v4-bf16,
    v4-hf (as transformers saves it), v4-vision (Vision-Exp), ocr2 and unlimited-ocr (with -resaved and -hf as
    transformers saves them), kimi-k2 (FP8), kimi-k2-thinking and kimi-k25 (INT4 experts), moonlight. `tokenizer` is a
    folder with tokenizer.json and tokenizer_config.json, by default one with 516 entries or somewhat more (Kimi's has a
    tiktoken.model); the vocabulary grows to hold its tokens.

    Memory is bounded by the headers plus some MB. UsageError: an argument that makes no sense, a folder that holds
    anything. CheckpointError: the tokenizer is damaged. OutputError: writing failed, or the disk has less space than is
    needed.
    """
    copies = (
        [_TIKTOKEN] if kind in KIMI_KINDS and not tokenizer else _tokenizer_files(tokenizer or _own_tokenizer(kind))
    )
    tokens = len(read_tokenizer(LocalFiles(tokenizer), {})[0].tokens) if tokenizer else 0
    files = companions(kind, config(kind, form.size, tokens))
    files |= tokenizer_files(kind) if copies == [_TIKTOKEN] else {}
    tensors = sample_tensors(kind, form.size, tokens)
    shards = split(scattered(tensors) if form.scatter else tensors, form.shards, 5 if kind in SEEDS else 6)
    try:
        _require_empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not form.sparse:
            _require_space(folder, sum(shard.nbytes for shard in shards))
        for source in copies:
            shutil.copyfile(source, folder / source.name)
        for name, content in files.items():
            _write(folder / name, content)
        for shard in shards:
            _write_shard(folder, shard, form.sparse)
        if len(shards) > 1:
            _write(folder / "model.safetensors.index.json", json.dumps(index(shards), ensure_ascii=False, indent=1))
    except OSError as error:
        found = error.strerror or str(error)
        raise OutputError(error.filename or folder, found, "remove the folder and repeat") from error
    return SampleSummary(folder, len(tensors), sum(tensor.nbytes for tensor in tensors), len(shards))


def sample_tensors(kind: str, size: str, tokens: int = 0) -> list[SampleTensor]:
    """All tensors of a sample, in the order of the modules, with rows for at least so many tokens.

    UsageError: no such kind or size.
    """
    if kind in V4_SEEDS:
        return v4_tensors(kind, config(kind, size, tokens))
    if kind in KIMI_KINDS:
        return kimi_tensors(kind, config(kind, size, tokens))
    if kind in OCR_KINDS:
        return ocr_tensors(kind, config(re.sub("-(hf|resaved)$", "", kind), size, tokens))
    # V3's MTP layer is dropped by default, so that one expert stands for all in the small checkpoints.
    one = size == "sample" and kind not in SEEDS
    return list(tensors_of(config(kind, size, tokens), mtp_experts=1 if one else None, seed=SEEDS.get(kind, 0)))


def pieces(shard: Shard) -> Iterator[Piece]:
    """The shard's data in runs of at most `PIECE` elements."""
    for tensor, offset in shard.placed():
        for start in range(0, tensor.count, PIECE):
            yield Piece(tensor, start, min(tensor.count, start + PIECE), offset + start * tensor.item_bytes)


def _write_shard(folder: Path, shard: Shard, sparse: bool) -> None:
    with (folder / shard.file).open("xb") as file:
        file.write(shard.header)
        file.flush()
        os.ftruncate(file.fileno(), shard.nbytes)
        if sparse:
            return
        with ThreadPoolExecutor(WORKERS) as pool:
            runs = [pool.submit(_write_pieces, file.fileno(), shard, first) for first in range(WORKERS)]
        for run in runs:
            run.result()


def _write_pieces(fd: int, shard: Shard, first: int) -> None:
    """Every `WORKERS`-th piece of the shard, from the one numbered `first`."""
    for piece in islice(pieces(shard), first, None, WORKERS):
        data = elements(piece.tensor, piece.start, piece.stop).data.cast("B")
        offset = piece.offset
        while data:
            written = os.pwrite(fd, data, offset)
            data, offset = data[written:], offset + written


def _write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", newline="")


def _own_tokenizer(kind: str) -> Path:
    return TOKENIZERS / _TOKENIZERS.get(kind, "sample-v3")


def _tokenizer_files(folder: Path) -> list[Path]:
    files = [folder / name for name in TOKENIZER_FILES]
    for file in files:
        if not os.path.isfile(file):  # noqa: PTH113 - pathlib raises what this takes for "not there"
            raise UsageError(file, "not there", f"the tokenizer's folder must hold {' and '.join(TOKENIZER_FILES)}")
    return files


def _require_empty(folder: Path) -> None:
    """Nothing is replaced: what a folder holds may be a checkpoint that took a day to download."""
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise OutputError(folder, f"cannot be looked at: {error.strerror}", "name a new one") from None
    if taken:
        raise UsageError(folder, "exists and is not an empty folder", "name a new one")


def _require_space(folder: Path, nbytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        found = f"{nbytes:,} bytes are needed, {free:,} are free"
        raise OutputError(folder, found, "choose another disk, or `sparse=True` for files with holes")
