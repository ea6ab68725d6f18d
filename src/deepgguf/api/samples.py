"""Checkpoints with made-up weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from deepgguf.choices import StrPath, checked

# Imported where it is used: a conversion does not wait for what only `sample` needs.
if TYPE_CHECKING:
    from deepgguf.samples.make import SampleSummary


@checked
def sample(
    kind: str,
    folder: StrPath,
    *,
    size: str = "sample",
    shards: int = 1,
    scatter: bool = False,
    sparse: bool = False,
    tokenizer: StrPath | None = None,
) -> "SampleSummary":
    """Makes a checkpoint with real structure and made-up weights in `folder`, the same bytes everywhere.

    `kind`: "v3", "v3-fp8", "v3-tied", "v2-lite", "deepseek-moe", "ocr", "v32", "v32-bf16", "v4", "v4-dspark",
    "v4-base", "v4-bf16", "v4-hf" (as transformers saves it), "v4-vision", "ocr2", "unlimited-ocr" (both also with
    "-resaved" and "-hf", as transformers saves them), "kimi-k2", "kimi-k2-thinking", "kimi-k25" or "moonlight". `size`:
    "sample", "bench" (a few GB) or "full" (the released model's shapes; for V4 "flash", which is the same, or "pro").
    `scatter` puts scales in different shards from their weights; `sparse` leaves holes for data, which is enough for
    `plan`. `tokenizer` is a folder whose tokenizer the sample takes.

    Raises UsageError if the choices make no sense or the folder is not empty, OutputError if writing fails.
    """
    from deepgguf.samples.make import Form, make_sample

    chosen = Path(tokenizer) if tokenizer is not None else None
    return make_sample(kind, Path(folder), Form(size, shards, scatter, sparse), chosen)
