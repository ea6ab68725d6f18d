"""From a GGUF file's tensor names back to the checkpoint's: one table per architecture of the file.

In a pattern `{n}` stands for a block's number, `{p}` for weight or bias, `{e}` for every expert's number in turn. The
names: gguf-py's constants.py (llama.cpp), convert_deepseek2.go and convert_deepseekocr.go (Ollama) on one side, the
published modeling_deepseek.py and deepencoder.py on the other.
"""

import re
from collections.abc import Mapping

_BLOCK = "model.layers.{n}."
_ATTENTION = {
    "attn_q": "q_proj",
    "attn_k": "k_proj",
    "attn_v": "v_proj",
    "attn_q_a": "q_a_proj",
    "attn_q_a_norm": "q_a_layernorm",
    "attn_q_b": "q_b_proj",
    "attn_kv_a_mqa": "kv_a_proj_with_mqa",
    "attn_kv_a_norm": "kv_a_layernorm",
    "attn_kv_b": "kv_b_proj",
    "attn_k_b": "kv_b_proj",
    "attn_v_b": "kv_b_proj",
    "attn_output": "o_proj",
}
_LANGUAGE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "blk.{n}.attn_norm.weight": f"{_BLOCK}input_layernorm.weight",
    "blk.{n}.ffn_norm.weight": f"{_BLOCK}post_attention_layernorm.weight",
    "blk.{n}.ffn_gate_inp.weight": f"{_BLOCK}mlp.gate.weight",
    "blk.{n}.exp_probs_b.bias": f"{_BLOCK}mlp.gate.e_score_correction_bias",
    **{f"blk.{{n}}.{ours}.weight": f"{_BLOCK}self_attn.{theirs}.weight" for ours, theirs in _ATTENTION.items()},
    **{
        f"blk.{{n}}.ffn_{word}{suffix}.weight": f"{_BLOCK}mlp.{path}{word}_proj.weight"
        for word in ("gate", "up", "down")
        for suffix, path in (("", ""), ("_shexp", "shared_experts."), ("_exps", "experts.{e}."))
    },
}

_CLIP, _SAM = "model.vision_model.", "model.sam_model."
_CLIP_BLOCK, _SAM_BLOCK = f"{_CLIP}transformer.layers.{{n}}.", f"{_SAM}blocks.{{n}}."
_OLLAMA_VISION = {
    "mm.image_newline": "model.image_newline",
    "mm.view_seperator": "model.view_seperator",
    "mm.layers.{p}": "model.projector.layers.{p}",
    "v.class_embd": f"{_CLIP}embeddings.class_embedding",
    "v.patch_embd.weight": f"{_CLIP}embeddings.patch_embedding.weight",
    "v.position_embd.weight": f"{_CLIP}embeddings.position_embedding.weight",
    "v.pre_layrnorm.{p}": f"{_CLIP}pre_layrnorm.{{p}}",
    **{
        f"v.blk.{{n}}.{module}.{{p}}": f"{_CLIP_BLOCK}{module}.{{p}}"
        for module in ("layer_norm1", "layer_norm2", "self_attn.qkv_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
    },
    "s.position_embd": f"{_SAM}pos_embed",
    "s.patch_embd.{p}": f"{_SAM}patch_embed.proj.{{p}}",
    "s.neck.{n}.{p}": f"{_SAM}neck.{{n}}.{{p}}",
    "s.net_{n}.weight": f"{_SAM}net_{{n}}.weight",
    "s.blk.{n}.attn.rel_pos_h": f"{_SAM_BLOCK}attn.rel_pos_h",
    "s.blk.{n}.attn.rel_pos_w": f"{_SAM_BLOCK}attn.rel_pos_w",
    **{
        f"s.blk.{{n}}.{module}.{{p}}": f"{_SAM_BLOCK}{module}.{{p}}"
        for module in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")
    },
}
_MMPROJ_CLIP = {
    "ln1": "layer_norm1",
    "ln2": "layer_norm2",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_out": "self_attn.out_proj",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
_MMPROJ_SAM = {
    "pre_ln": "norm1",
    "post_ln": "norm2",
    "attn.qkv": "attn.qkv",
    "attn.out": "attn.proj",
    "mlp.lin1": "mlp.lin1",
    "mlp.lin2": "mlp.lin2",
}
_MMPROJ = {
    "v.image_newline": "model.image_newline",
    "v.view_seperator": "model.view_seperator",
    "mm.model.fc.{p}": "model.projector.layers.{p}",
    "v.class_embd": f"{_CLIP}embeddings.class_embedding",
    "v.patch_embd.weight": f"{_CLIP}embeddings.patch_embedding.weight",
    "v.position_embd.weight": f"{_CLIP}embeddings.position_embedding.weight",
    "v.pre_ln.{p}": f"{_CLIP}pre_layrnorm.{{p}}",
    **{f"v.blk.{{n}}.{ours}.{{p}}": f"{_CLIP_BLOCK}{theirs}.{{p}}" for ours, theirs in _MMPROJ_CLIP.items()},
    "v.sam.pos_embd.weight": f"{_SAM}pos_embed",
    "v.sam.patch_embd.{p}": f"{_SAM}patch_embed.proj.{{p}}",
    "v.sam.neck.{n}.{p}": f"{_SAM}neck.{{n}}.{{p}}",
    "v.sam.net_{n}.weight": f"{_SAM}net_{{n}}.weight",
    "v.sam.blk.{n}.attn.pos_h.weight": f"{_SAM_BLOCK}attn.rel_pos_h",
    "v.sam.blk.{n}.attn.pos_w.weight": f"{_SAM_BLOCK}attn.rel_pos_w",
    **{f"v.sam.blk.{{n}}.{ours}.{{p}}": f"{_SAM_BLOCK}{theirs}.{{p}}" for ours, theirs in _MMPROJ_SAM.items()},
}

# general.architecture -> file's names to checkpoint's names.
NAMES: dict[str, Mapping[str, str]] = {
    "deepseek2": _LANGUAGE,
    "deepseek2-ocr": _LANGUAGE,
    "deepseekocr": {**_LANGUAGE, **_OLLAMA_VISION},
    "clip": _MMPROJ,
}

_PLACES = re.compile(r"\{([np])\}")
_WORDS = {"n": r"(?P<n>0|[1-9][0-9]{0,8})", "p": r"(?P<p>weight|bias)"}


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of the table as a regular expression: its places as groups, all else literally."""
    literal = iter(_PLACES.split(text))
    parts = [re.escape(next(literal))]
    for place, rest in zip(literal, literal, strict=True):
        parts += [_WORDS[place], re.escape(rest)]
    return re.compile("".join(parts))


_COMPILED = {
    architecture: [(_pattern(ours), theirs) for ours, theirs in names.items()] for architecture, names in NAMES.items()
}


def source_names(architecture: str, name: str, experts: int) -> tuple[str, ...]:
    """The checkpoint's tensors that tensor `name` is made of, in order; empty if there is no such name.

    `experts` is the number of experts in a stack.
    """
    for pattern, template in _COMPILED[architecture]:
        found = pattern.fullmatch(name)
        if found:
            source = template
            for place, text in found.groupdict().items():
                source = source.replace(f"{{{place}}}", text)
            return tuple(source.replace("{e}", str(e)) for e in range(experts)) if "{e}" in source else (source,)
    return ()
