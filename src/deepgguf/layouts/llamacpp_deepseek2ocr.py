"""llama.cpp's layout of DeepSeek-OCR: the language model in one file, SAM, CLIP and projector in an mmproj beside it.

conversion/deepseek.py, DeepseekOCRVisionModel; the engine's side is tools/mtmd/models/deepseekocr.cpp and clip.cpp.
"""

import re
from collections.abc import Iterable, Mapping

from deepgguf.architectures.architecture import Model
from deepgguf.architectures.tensors import Component, ExpectedTensor, Role
from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.layouts.language_keys import group_keys, size_keys
from deepgguf.layouts.language_names import language_name
from deepgguf.layouts.layout import FileKind, KeyFacts, Layout, Output, in_file_order, stack_experts
from deepgguf.layouts.llamacpp_keys import llamacpp_general, llamacpp_run
from deepgguf.layouts.ollama_deepseek2 import storage as text_storage
from deepgguf.layouts.storage import ALWAYS_F32, CHOSEN, LLAMACPP_FILE_TYPES, LLAMACPP_PLAIN, MATRIX, PATCH
from deepgguf.layouts.tokenizer_keys import llamacpp_tokenizer_keys
from deepgguf.layouts.values import array, boolean, float32, present, string, uint32

_SAM = {
    "position_embd": "pos_embd.weight",
    "norm1": "pre_ln",
    "norm2": "post_ln",
    "attn.proj": "attn.out",
    "attn.rel_pos_h": "attn.pos_h.weight",
    "attn.rel_pos_w": "attn.pos_w.weight",
}
_CLIP = {
    "pre_layrnorm": "pre_ln",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.out_proj": "attn_out",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
_PROJECTOR = {"layers": "mm.model.fc", "image_newline": "v.image_newline", "view_seperator": "v.view_seperator"}

_MATRICES = re.compile(
    r"mm\.model\.fc\.weight"
    r"|v\.blk\.\d+\.(attn_qkv|attn_out|ffn_up|ffn_down)\.weight"
    r"|v\.sam\.blk\.\d+\.(attn\.qkv|attn\.out|mlp\.lin1|mlp\.lin2)\.weight"
)
_HALF = [0.5, 0.5, 0.5]


def name(role: Role) -> str:
    """gguf-py constants.py: V_ENC_*, V_SAM_*, V_MMPROJ_FC."""
    if role.component is Component.LANGUAGE:
        return language_name(role)
    block = "" if role.block is None else f"blk.{role.block}."
    part = f".{role.part}" if role.part else ""
    if role.component is Component.SAM:
        return f"v.sam.{block}{_SAM.get(role.kind, role.kind)}{part}"
    if role.component is Component.CLIP:
        return f"v.{block}{_CLIP.get(role.kind, role.kind)}{part}"
    return f"{_PROJECTOR[role.kind]}{part}"


def storage(output: str, tensor: ExpectedTensor) -> str:
    """The output's type only for the matrices of the blocks and the projector (conversion/base.py, MmprojModel)."""
    if tensor.role.component is Component.LANGUAGE:
        return text_storage(output, tensor)
    if output == "v.sam.patch_embd.weight":
        return PATCH
    return MATRIX if _MATRICES.fullmatch(output) else ALWAYS_F32


def file(role: Role) -> FileKind:
    """The language model, or everything that sees."""
    return FileKind.TEXT if role.component is Component.LANGUAGE else FileKind.MMPROJ


def outputs(model: Model, tensors: Iterable[ExpectedTensor]) -> list[Output]:
    """Experts stacked; view_seperator becomes a matrix of one row, as the engine reads it."""
    made = stack_experts(tensors, name, storage, file)
    return in_file_order(_as_matrix(output) if output.name == "v.view_seperator" else output for output in made)


def _as_matrix(output: Output) -> Output:
    shape = (1, *output.shape)
    return Output(output.name, output.roles, output.rows, shape, output.storage, output.file)


def text_keys(facts: KeyFacts) -> dict[str, Value]:
    """As llama.cpp's converter writes them; rope.dimension_count 0 (no MLA, so no rope part of a head) is intended."""
    c = facts.model.language
    own = {
        **size_keys(c),
        **group_keys(c),
        "vocab_size": uint32(c.vocab_size),
        "attention.head_count_kv": uint32(c.num_key_value_heads),
        "rope.dimension_count": uint32(c.qk_rope_head_dim),
    }
    general = llamacpp_general(facts, "deepseek2-ocr", "model")
    return general | present(own, "deepseek2-ocr.") | llamacpp_tokenizer_keys(facts.tokenizer, c.vocab_size)


def mmproj_keys(facts: KeyFacts) -> dict[str, Value]:
    """What clip.cpp reads. feed_forward_length is 4 x heads: upstream's quirk, not the MLP's width."""
    vision = facts.model.vision
    assert vision is not None
    own = {
        "has_vision_encoder": boolean(True),
        "projector_type": string("deepseekocr"),
        "use_gelu": boolean(True),
        "vision.projection_dim": uint32(facts.model.language.hidden_size),
        "vision.image_size": uint32(vision.clip.image_size),
        "vision.patch_size": uint32(vision.clip.patch_size),
        "vision.embedding_length": uint32(vision.clip.width),
        "vision.feed_forward_length": uint32(4 * vision.clip.heads),
        "vision.block_count": uint32(vision.clip.layers),
        "vision.attention.head_count": uint32(vision.clip.heads),
        "vision.attention.layer_norm_epsilon": float32(1e-6),
        "vision.image_mean": _channels(facts.processor, "image_mean"),
        "vision.image_std": _channels(facts.processor, "image_std"),
        "vision.projector.scale_factor": uint32(1),
        "vision.window_size": uint32(14),
        "vision.preproc_min_tiles": uint32(2),
        "vision.preproc_max_tiles": uint32(9),
        "vision.sam.block_count": uint32(vision.sam.layers),
        "vision.sam.embedding_length": uint32(vision.sam.width),
        "vision.sam.head_count": uint32(vision.sam.heads),
    }
    return llamacpp_general(facts, "clip", "mmproj") | present(own, "clip.")


def _channels(processor: Mapping[str, object], key: str) -> Value | None:
    """Three numbers, one per colour, from the (pre)processor's config; one half each where it has none."""
    values = processor.get(key, _HALF)
    if not (isinstance(values, list) and len(values) == 3 and all(type(v) in (int, float) for v in values)):
        raise CheckpointError("processor_config.json", f"{key} is {values!r}, expected three numbers")
    return array(ValueType.FLOAT32, [float(v) for v in values])


def limits(model: Model) -> tuple[str, ...]:
    """clip.cpp builds SAM with 12 blocks, whatever the file says."""
    vision = model.vision
    if vision is None or vision.sam.layers == 12:
        return ()
    return (f"llama.cpp builds SAM with 12 blocks; this one has {vision.sam.layers}",)


LAYOUT = Layout(
    target="llama.cpp",
    sources=("DeepseekOCRForCausalLM",),
    architecture="deepseek2-ocr",
    outputs=outputs,
    keys={FileKind.TEXT: text_keys, FileKind.MMPROJ: mmproj_keys},
    plain_types=LLAMACPP_PLAIN,
    chosen_types=CHOSEN,
    file_types=LLAMACPP_FILE_TYPES,
    run=llamacpp_run,
    limits=limits,
)
