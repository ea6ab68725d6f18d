"""Keys of the language model that both targets write alike."""

from deepgguf.formats.gguf.types import Value
from deepgguf.models.language_model import LanguageConfig
from deepgguf.models.rope import engine_factors
from deepgguf.models.values import float32, string, uint32

# llama-hparams.h, enum llama_expert_gating_func_type.
GATING_FUNCTIONS = {"softmax": 1, "sigmoid": 2}


def gating_function(c: LanguageConfig) -> Value | None:
    """1 softmax, 2 sigmoid, no key without a scoring function."""
    return uint32(GATING_FUNCTIONS[c.scoring_func]) if c.scoring_func else None


def rope_keys(c: LanguageConfig) -> dict[str, Value | None]:
    """Rotary positions and their scaling. Without it, no rope.scaling.* key (llama.cpp aborts on an empty type)."""
    keys = {"rope.freq_base": float32(c.rope_theta)}
    if c.scaling is None:
        return keys
    attention, multiplier = engine_factors(c.scaling)
    yarn = c.scaling.type == "yarn"
    return keys | {
        "rope.scaling.type": string(c.scaling.type),
        "rope.scaling.factor": float32(c.scaling.factor),
        "rope.scaling.original_context_length": uint32(c.scaling.original) if yarn else None,
        "rope.scaling.attn_factor": float32(attention),
        "rope.scaling.yarn_log_multiplier": float32(multiplier),
    }


def beta_keys(c: LanguageConfig) -> dict[str, Value | None]:
    """Between which frequencies YaRN fades; no key without it."""
    betas = c.scaling.betas if c.scaling and c.scaling.type == "yarn" else (None, None)
    return {"rope.scaling.yarn_beta_fast": float32(betas[0]), "rope.scaling.yarn_beta_slow": float32(betas[1])}


def size_keys(c: LanguageConfig) -> dict[str, Value | None]:
    """Counts and widths (llama-arch.cpp, LLM_KV_NAMES; without the architecture's name before them)."""
    return {
        "block_count": uint32(c.num_hidden_layers),
        "context_length": uint32(c.max_position_embeddings),
        "embedding_length": uint32(c.hidden_size),
        "feed_forward_length": uint32(c.intermediate_size),
        "leading_dense_block_count": uint32(c.first_k_dense_replace),
        "attention.head_count": uint32(c.num_attention_heads),
        "attention.layer_norm_rms_epsilon": float32(c.rms_norm_eps),
        "expert_count": uint32(c.n_routed_experts),
        "expert_used_count": uint32(c.num_experts_per_tok),
        "expert_feed_forward_length": uint32(c.moe_intermediate_size),
        "expert_shared_count": uint32(c.n_shared_experts),
    }


def group_keys(c: LanguageConfig) -> dict[str, Value | None]:
    """Expert groups (DeepSeek-V3, section 2.1.2): without them the engine routes tokens to the wrong experts. To use
    all groups is to have one: the engine aborts on as many used groups as groups (llama-model.cpp, load_hparams).
    """
    if c.n_group and c.n_group == c.topk_group:
        return {"expert_group_count": uint32(1), "expert_group_used_count": uint32(1)}
    return {"expert_group_count": uint32(c.n_group), "expert_group_used_count": uint32(c.topk_group)}
