"""The sample checkpoints that the goldens were made of."""

from collections.abc import Callable
from pathlib import Path

from deepgguf.samples.kimi_configs import KINDS as KIMI_KINDS
from deepgguf.samples.ocr_family_configs import KINDS as OCR_KINDS

Checkpoint = Callable[[str], Path]
"""The fixture `checkpoint`: the folder of a checkpoint by its golden's name, for example `checkpoint("v3-fp8")`."""

GROUP_KEYS = ("deepseek2.expert_group_count", "deepseek2.expert_group_used_count")
"""What Ollama's own conversions of V3 lack."""

# The arguments with which the goldens' checkpoints were made.
SAMPLES = {
    "v3-bf16": ("v3", {"shards": 2}),
    "v3-fp8": ("v3-fp8", {"shards": 3, "scatter": True}),
    "v3-tied": ("v3-tied", {}),
    "v2-lite": ("v2-lite", {}),
    "deepseek-moe": ("deepseek-moe", {"shards": 2}),
    "ocr": ("ocr", {"shards": 2}),
    "v32-fp8": ("v32", {"shards": 3, "scatter": True}),
    "v32-bf16": ("v32-bf16", {"shards": 2}),
    "v4": ("v4", {"shards": 4, "scatter": True}),
    "v4-dspark": ("v4-dspark", {"shards": 3}),
    "v4-base": ("v4-base", {"shards": 3, "scatter": True}),
    "v4-bf16": ("v4-bf16", {"shards": 2}),
    "v4-hf": ("v4-hf", {}),
    "v4-vision": ("v4-vision", {"shards": 3}),
    **{kind: (kind, {"shards": 3, "scatter": True}) for kind in (*OCR_KINDS, *KIMI_KINDS)},
}
