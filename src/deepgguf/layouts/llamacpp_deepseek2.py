"""llama.cpp's layout of DeepSeek-V2 and V3 (conversion/deepseek.py): kv_b split per head, so that MLA is absorbed."""

from collections.abc import Iterable

from deepgguf.architectures.architecture import Model
from deepgguf.architectures.tensors import ExpectedTensor
from deepgguf.formats.gguf.types import Value
from deepgguf.layouts.language_keys import gating_function, group_keys, rope_keys, size_keys
from deepgguf.layouts.language_names import language_name
from deepgguf.layouts.layout import FileKind, KeyFacts, Layout, Output, in_file_order, stack_experts
from deepgguf.layouts.llamacpp_keys import llamacpp_general, llamacpp_run
from deepgguf.layouts.ollama_deepseek2 import storage
from deepgguf.layouts.storage import CHOSEN, LLAMACPP_FILE_TYPES, LLAMACPP_PLAIN
from deepgguf.layouts.tokenizer_keys import llamacpp_tokenizer_keys
from deepgguf.layouts.values import boolean, float32, present, uint32
from deepgguf.tensors.view import predict, split_heads


def outputs(model: Model, tensors: Iterable[ExpectedTensor]) -> list[Output]:
    """Experts stacked, kv_b split into k_b and v_b, everything else as it is."""
    whole: list[ExpectedTensor] = []
    split: list[Output] = []
    for tensor in tensors:
        if tensor.role.kind == "kv_b":
            split += split_kv_b(model, tensor)
        else:
            whole.append(tensor)
    return in_file_order(split + stack_experts(whole, language_name, storage))


def split_kv_b(model: Model, tensor: ExpectedTensor) -> list[Output]:
    """k_b: of every head the nope rows, transposed; v_b: the rest. DeepSeek-V2, section 2.1.2: W_UK and W_UV."""
    c = model.language
    heads, nope, name = c.num_attention_heads, c.qk_nope_head_dim, language_name(tensor.role)
    k_b = split_heads(tensor.shape, heads, 0, nope, transposed=True)
    v_b = split_heads(tensor.shape, heads, nope, nope + c.v_head_dim)
    parts = (("attn_k_b", k_b), ("attn_v_b", v_b))
    return [
        Output(name.replace("attn_kv_b", part), (tensor.role,), rows, predict(rows), storage(name, tensor))
        for part, rows in parts
    ]


def keys(facts: KeyFacts) -> dict[str, Value]:
    """MLA as attention with one KV head (deepseek2.cpp): keys of rank + rope dimensions, values of rank."""
    c = facts.model.language
    rank = c.kv_lora_rank or 0
    own = {
        **size_keys(c),
        **group_keys(c),
        **rope_keys(c),
        "vocab_size": uint32(c.vocab_size),
        "attention.head_count_kv": uint32(1),
        "attention.key_length": uint32(rank + c.qk_rope_head_dim),
        "attention.value_length": uint32(rank),
        "attention.key_length_mla": uint32(c.qk_nope_head_dim + c.qk_rope_head_dim),
        "attention.value_length_mla": uint32(c.v_head_dim),
        "attention.kv_lora_rank": uint32(rank),
        "attention.q_lora_rank": uint32(c.q_lora_rank),
        "expert_gating_func": gating_function(c),
        "expert_weights_norm": boolean(c.norm_topk_prob or None),
        "expert_weights_scale": float32(c.routed_scaling_factor),
        "rope.dimension_count": uint32(c.qk_rope_head_dim),
        "rope.scaling.yarn_beta_fast": float32(c.yarn.beta_fast) if c.yarn else None,
        "rope.scaling.yarn_beta_slow": float32(c.yarn.beta_slow) if c.yarn else None,
    }
    general = llamacpp_general(facts, "deepseek2", "model")
    return general | present(own, "deepseek2.") | llamacpp_tokenizer_keys(facts.tokenizer, c.vocab_size)


def limits(model: Model) -> tuple[str, ...]:
    """deepseek2.cpp tells V2-Lite, the variant without q_lora_rank, by its 26 or 27 layers."""
    layers = model.language.num_hidden_layers
    lite = model.language.q_lora_rank is None
    if lite == (layers in (26, 27)):
        return ()
    wants = "expects no q_lora_rank for 26 or 27 layers and one for any other number"
    return (
        f"llama.cpp {wants}; this model has {layers} layers and {'none' if lite else 'one'}: it may refuse to load it",
    )


LAYOUT = Layout(
    target="llama.cpp",
    sources=("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"),
    architecture="deepseek2",
    outputs=outputs,
    keys={FileKind.TEXT: keys},
    plain_types=LLAMACPP_PLAIN,
    chosen_types=CHOSEN,
    file_types=LLAMACPP_FILE_TYPES,
    run=llamacpp_run,
    limits=limits,
)
