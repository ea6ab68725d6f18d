"""What transformers 5 calls the modules of the OCR models' encoders, and what the releases call them.

`save_pretrained` writes the releases' names; with save_original_format=False it writes these
(transformers 5.24, modeling_deepseek_ocr2.py, modeling_unlimited_ocr.py).
"""

import re

SIGN = "vision_tower.sam_encoder."
"""What tells such a checkpoint."""

_SAM, _CLIP, _QWEN2 = "model.sam_model.", "model.vision_model.", "model.qwen2_model."
_TOWER = r"model\.vision_tower\."

# The first pattern that matches counts.
_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (_TOWER + r"sam_encoder\.layers\.(\d+)\.layer_norm([12])\.", _SAM + r"blocks.\1.norm\2."),
        (_TOWER + r"sam_encoder\.layers\.", _SAM + "blocks."),
        (_TOWER + r"sam_encoder\.patch_embed\.projection\.", _SAM + "patch_embed.proj."),
        (_TOWER + r"sam_encoder\.neck\.conv1\.", _SAM + "neck.0."),
        (_TOWER + r"sam_encoder\.neck\.layer_norm1\.", _SAM + "neck.1."),
        (_TOWER + r"sam_encoder\.neck\.conv2\.", _SAM + "neck.2."),
        (_TOWER + r"sam_encoder\.neck\.layer_norm2\.", _SAM + "neck.3."),
        (_TOWER + r"sam_encoder\.proj\.conv1\.", _SAM + "net_2."),
        (_TOWER + r"sam_encoder\.proj\.conv2\.", _SAM + "net_3."),
        (_TOWER + r"sam_encoder\.", _SAM),
        (_TOWER + r"vision_encoder\.encoder\.", _CLIP + "transformer."),
        (_TOWER + r"vision_encoder\.(embeddings|pre_layrnorm)\.", _CLIP + r"\1."),
        (_TOWER + r"vision_encoder\.", _QWEN2 + "model.model."),
        (_TOWER + r"query_(768|1024)_resolution\.", _QWEN2 + r"query_\1."),
        (r"model\.multi_modal_projector\.", "model.projector.layers."),
        (r"model\.view_separator\b", "model.view_seperator"),
    )
)


def released_name(name: str) -> str:
    """What the release calls the tensor `name` of such a checkpoint."""
    for pattern, new in _NAMES:
        found, count = pattern.subn(new, name, 1)
        if count:
            return found
    return name
