"""Ollama's layout of DeepSeek-V2 and V3 (convert/convert_deepseek2.go), with the corrections of docs/differences.md."""

from collections.abc import Iterable

from deepgguf.architectures.architecture import Model
from deepgguf.architectures.tensors import ExpectedTensor
from deepgguf.formats.gguf.types import GGMLType, Value, ValueType
from deepgguf.layouts.language_keys import gating_function, group_keys, rope_keys, size_keys
from deepgguf.layouts.language_names import language_name
from deepgguf.layouts.layout import FileKind, KeyFacts, Layout, Output, in_file_order, stack_experts
from deepgguf.layouts.ollama_run import run_command
from deepgguf.layouts.storage import ALWAYS_F32, CHOSEN, MATRIX, OLLAMA_FILE_TYPES, OLLAMA_PLAIN
from deepgguf.layouts.tokenizer_keys import ollama_tokenizer_keys
from deepgguf.layouts.values import array, boolean, float32, present, string, uint32
from deepgguf.recipes.choice import Exceptions, Pin
from deepgguf.recipes.patterns import TypePattern

# Ollama keeps the narrow attention projections at Q8_0 in its two Q4_K mixtures (llama-quant.cpp of its fork).
Q8_ATTENTION = (Pin(("q4_k_s", "q4_k_m"), TypePattern(r"attn_(q_a|q_b|kv_a_mqa|k_b|v_b)\.weight", GGMLType.Q8_0)),)


def storage(name: str, tensor: ExpectedTensor) -> str:
    """F32 for the router, biases and whatever has one dimension (Ollama: convert/reader.go, Kind)."""
    always_f32 = name.endswith((".ffn_gate_inp.weight", ".bias")) or len(tensor.shape) == 1
    return ALWAYS_F32 if always_f32 else MATRIX


def outputs(model: Model, tensors: Iterable[ExpectedTensor]) -> list[Output]:
    """Everything as it is, experts stacked."""
    return in_file_order(stack_experts(tensors, language_name, storage))


def keys(facts: KeyFacts) -> dict[str, Value]:
    """The keys of Ollama's converter, and the expert groups."""
    c = facts.model.language
    general = {
        "architecture": string("deepseek2"),
        "type": string("model"),
        "quantization_version": uint32(2),
    }
    own = {
        **size_keys(c),
        **group_keys(c),
        **rope_keys(c),
        "attention.head_count_kv": uint32(c.num_key_value_heads),
        "attention.key_length": uint32(c.qk_nope_head_dim + c.qk_rope_head_dim),
        "attention.value_length": uint32(c.v_head_dim),
        "attention.kv_lora_rank": uint32(c.kv_lora_rank),
        "attention.q_lora_rank": uint32(c.q_lora_rank),
        "expert_gating_func": gating_function(c),
        "expert_weights_norm": boolean(c.norm_topk_prob),
        "expert_weights_scale": float32(c.routed_scaling_factor),
        "rope.dimension_count": uint32(c.qk_rope_head_dim),
        "source_quantization": string("hf_fp8") if facts.fp8_tensors else None,
        "source_fp8_tensors": array(ValueType.STRING, sorted(facts.fp8_tensors) or None),
    }
    return (
        present(general, "general.") | present(own, "deepseek2.") | ollama_tokenizer_keys(facts.tokenizer, c.vocab_size)
    )


LAYOUT = Layout(
    target="ollama",
    sources=("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"),
    architecture="deepseek2",
    outputs=outputs,
    keys={FileKind.TEXT: keys},
    plain_types=OLLAMA_PLAIN,
    chosen_types=CHOSEN,
    file_types=OLLAMA_FILE_TYPES,
    run=run_command,
    exceptions=Exceptions(pins=Q8_ATTENTION),
)
