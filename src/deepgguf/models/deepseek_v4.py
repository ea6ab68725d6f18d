"""DeepSeek-V4: `DeepseekV4ForCausalLM` (Flash, Pro, Base), as released and as transformers saves it.

Keys: llama.cpp's conversion/deepseek.py, DeepseekV4Model and its DSpark form, and deepseek4.cpp.
Experts are FP4, FP8 or BF16: what is stored decides. Ollama runs llama.cpp's files.
"""

import re

import msgspec

from deepgguf.choices import FileKind
from deepgguf.encodings.fp4 import Fp4
from deepgguf.encodings.fp8 import Fp8
from deepgguf.formats.gguf.types import GGMLType, Value, ValueType
from deepgguf.models import bundled_templates
from deepgguf.models.deepseek_v4_config import WINDOW, DeepseekV4Config, parse
from deepgguf.models.deepseek_v4_stages import stages_table
from deepgguf.models.deepseek_v4_table import table
from deepgguf.models.deepseek_v4_vision import mmproj_keys, vision_limits
from deepgguf.models.family import Family, KeyFacts, TargetFile
from deepgguf.models.llamacpp import llamacpp_general, llamacpp_target
from deepgguf.models.mtp import MTP_DROPPED
from deepgguf.models.tokenizer_keys import llamacpp_tokenizer_keys
from deepgguf.models.values import array, boolean, float32, present, string, uint32
from deepgguf.recipes.choice import Exceptions, Pin
from deepgguf.recipes.patterns import TypePattern
from deepgguf.recipes.recipe import RECIPES

STAGES_DROPPED = "DSpark stages, which are a model of their own"
_HASH_BIASES = "biases of routers whose experts a table names"
_MTP = re.compile(r"(model\.)?mtp\.\d+\..*")
_SQRT_SOFTPLUS = 4  # llama-hparams.h, enum llama_expert_gating_func_type
_ROUTER_BIAS = re.compile(r"(model\.)?layers\.(\d{1,9})\.ffn\.gate\.bias")


def _drop_reason(c: DeepseekV4Config, name: str) -> str | None:
    """Why a source tensor that the converted model does not have is left out; None if it may not be."""
    if _MTP.fullmatch(name):
        return STAGES_DROPPED if c.dspark_target_layer_ids else MTP_DROPPED
    bias = _ROUTER_BIAS.fullmatch(name)
    return _HASH_BIASES if bias and int(bias[2]) < c.num_hash_layers else None


def _mtp_layers(c: DeepseekV4Config) -> int:
    """Releases with DSpark stages promise a layer that these have taken the place of."""
    return 0 if c.dspark_target_layer_ids else c.num_nextn_predict_layers


def _keys(c: DeepseekV4Config, facts: KeyFacts) -> dict[str, Value]:
    """The keys of llama.cpp's converter (deepseek4.cpp, load_arch_hparams)."""
    blocks = c.num_hidden_layers + facts.mtp_layers
    clamp = array(ValueType.FLOAT32, [c.swiglu_limit] * blocks if c.swiglu_limit else None)
    own = {
        "block_count": uint32(blocks),
        "context_length": uint32(c.max_position_embeddings),
        "embedding_length": uint32(c.hidden_size),
        "embedding_length_out": uint32(c.hidden_size * c.hc_mult),
        "attention.head_count": uint32(c.num_attention_heads),
        "attention.head_count_kv": uint32(1),
        "attention.key_length": uint32(c.head_dim),
        "attention.value_length": uint32(c.head_dim),
        "attention.layer_norm_rms_epsilon": float32(c.rms_norm_eps),
        "attention.q_lora_rank": uint32(c.q_lora_rank),
        "attention.sliding_window": uint32(c.sliding_window),
        "attention.output_group_count": uint32(c.o_groups),
        "attention.output_lora_rank": uint32(c.o_lora_rank),
        "attention.compress_ratios": array(ValueType.INT32, c.compress_ratios),
        "attention.compress_rope_freq_base": float32(c.compress_rope_theta),
        "attention.indexer.head_count": uint32(c.index_n_heads),
        "attention.indexer.key_length": uint32(c.index_head_dim),
        "attention.indexer.top_k": uint32(c.index_topk),
        "rope.dimension_count": uint32(c.qk_rope_head_dim),
        "rope.freq_base": float32(c.rope_theta),
        "rope.scaling.type": string("yarn") if c.yarn else None,
        "rope.scaling.factor": float32(c.yarn.factor) if c.yarn else None,
        "rope.scaling.original_context_length": uint32(c.yarn.original_max_position_embeddings) if c.yarn else None,
        "rope.scaling.yarn_beta_fast": float32(c.yarn.beta_fast) if c.yarn else None,
        "rope.scaling.yarn_beta_slow": float32(c.yarn.beta_slow) if c.yarn else None,
        "expert_count": uint32(c.n_routed_experts),
        "expert_used_count": uint32(c.num_experts_per_tok),
        "expert_shared_count": uint32(c.n_shared_experts),
        "expert_feed_forward_length": uint32(c.moe_intermediate_size),
        "expert_gating_func": uint32(_SQRT_SOFTPLUS),
        "expert_weights_scale": float32(c.routed_scaling_factor),
        "expert_weights_norm": boolean(c.norm_topk_prob),
        "hash_layer_count": uint32(c.num_hash_layers),
        "hyper_connection.count": uint32(c.hc_mult),
        "hyper_connection.sinkhorn_iterations": uint32(c.hc_sinkhorn_iters),
        "hyper_connection.epsilon": float32(c.hc_eps),
        "swiglu_clamp_exp": clamp,
        "swiglu_clamp_shexp": clamp,
        "nextn_predict_layers": uint32(facts.mtp_layers or None),
    }
    tokenizer = llamacpp_tokenizer_keys(facts.checkpoint.tokenizer, c.vocab_size)
    return llamacpp_general(facts, "model") | present(own, f"{facts.architecture}.") | tokenizer


def _draft_keys(c: DeepseekV4Config, facts: KeyFacts) -> dict[str, Value]:
    """Those of the model, whose blocks are the stages, and of how these draft."""
    stages = len(c.dspark_target_layer_ids)
    own = msgspec.structs.replace(c, num_hidden_layers=stages, num_hash_layers=0, compress_ratios=(WINDOW,) * stages)
    keys, prefix = _keys(own, facts), facts.architecture
    del keys[f"{prefix}.embedding_length_out"]
    drafting = {
        f"{prefix}.block_size": uint32(c.dspark_block_size),
        f"{prefix}.target_layers": array(ValueType.INT32, [layer + 1 for layer in c.dspark_target_layer_ids]),
        "tokenizer.ggml.mask_token_id": uint32(c.dspark_noise_token_id),
    }
    return keys | present(drafting)


def _mmproj_keys(c: DeepseekV4Config, facts: KeyFacts) -> dict[str, Value]:
    assert c.vision  # else no tensor is in this file
    return mmproj_keys(c.vision, c.hidden_size, facts)


def _limits(c: DeepseekV4Config) -> tuple[str, ...]:
    """What llama.cpp b11549 refuses, or computes otherwise (deepseek4.cpp; llama-kv-cache.cpp, the constructor)."""
    betas = (c.yarn.beta_fast, c.yarn.beta_slow) if c.yarn else (32, 1)
    found = {
        f"llama.cpp has hc_mult 4 built in, and this model has {c.hc_mult}: it aborts": c.hc_mult != 4,
        f"llama.cpp crashes where head_dim is index_head_dim, here {c.head_dim}": c.head_dim == c.index_head_dim,
        f"llama.cpp needs an index_head_dim of a multiple of 64, and this is {c.index_head_dim}": c.index_head_dim % 64,
        f"llama.cpp has YaRN's betas 32 and 1 built in, and this model has {betas[0]:g} and {betas[1]:g}: its "
        "answers will differ": betas != (32, 1),
    }  # fmt: skip
    return tuple(text for text, applies in found.items() if applies)


def _llamacpp_limits(c: DeepseekV4Config) -> tuple[str, ...]:
    return (*_limits(c), *(vision_limits(c.vision) if c.vision else ()))


def _ollama_limits(c: DeepseekV4Config) -> tuple[str, ...]:
    blind = 'this file sees no pictures: only `target="llama.cpp"` has one for what the model sees with (mmproj)'
    return (*_limits(c), *((blind,) if c.vision else ()))


# Hyper-connections decide what reaches every layer, in tables of a few MB: at Q4_K they cost more than the experts.
_STREAMS = Exceptions(pins=(Pin(tuple(RECIPES), TypePattern(r"hc_(attn|ffn)_fn|output_hc_fn", GGMLType.F32)),))

_FILES: dict[FileKind, TargetFile[DeepseekV4Config]] = {"text": TargetFile("deepseek4", _keys)}
_TARGET = msgspec.structs.replace(
    llamacpp_target(
        {**_FILES, "mmproj": TargetFile("clip", _mmproj_keys), "draft": TargetFile("dflash", _draft_keys)},
        _llamacpp_limits,
        _STREAMS,
        ("drop", "only"),
    ),
    stored_types={Fp8: GGMLType.Q8_0, Fp4: GGMLType.MXFP4},
    direct=True,
)
FAMILY = Family(
    name="DeepseekV4ForCausalLM",
    parse=parse,
    table=table,
    drop_reason=_drop_reason,
    targets={
        "llama.cpp": _TARGET,
        "ollama": msgspec.structs.replace(_TARGET, files=_FILES, limits=_ollama_limits, mtp=("drop",)),
    },
    model_type="deepseek_v4",
    mtp_layers=_mtp_layers,
    draft_table=stages_table,
    chat_template=lambda c: bundled_templates.V4_0731 if c.dspark_target_layer_ids else bundled_templates.V4,
)
