"""DeepSeek-V2, V2.5, V2-Lite, Coder-V2: `DeepseekV2ForCausalLM` (arXiv 2405.04434)."""

from collections.abc import Iterator

from deepgguf.architectures.architecture import Architecture, Model
from deepgguf.architectures.config_schema import JsonObject
from deepgguf.architectures.language_model import language_drop_reason, language_tensors, parse_language_config
from deepgguf.architectures.tensors import ExpectedTensor

# What configuration_deepseek.py of DeepSeek-V2 gives a field that config.json leaves out.
DEFAULTS: JsonObject = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "moe_layer_freq": 1,
    "scoring_func": "softmax",
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
    "topk_method": "greedy",
    "n_group": None,
    "topk_group": None,
    "q_lora_rank": 1536,
    "use_mla": True,
}


def _parse(config: JsonObject, where: str) -> Model:
    return Model("DeepseekV2ForCausalLM", parse_language_config(config, DEFAULTS, where))


def _tensors(model: Model) -> Iterator[ExpectedTensor]:
    return language_tensors(model.language)


def _drop_reason(model: Model, name: str) -> str | None:
    return language_drop_reason(model.language, name)


def _limits(model: Model) -> tuple[str, ...]:
    """modeling_deepseek.py ranks a group by its best expert; llama-graph.cpp (build_moe_ffn) by its best two."""
    if model.language.topk_method != "group_limited_greedy" or (model.language.n_group or 1) == 1:
        return ()
    return (
        "topk_method is group_limited_greedy: the model ranks groups of experts by their best expert, the engines by "
        "their best two; some tokens will be routed to other experts than in the original",
    )


ARCHITECTURE = Architecture("DeepseekV2ForCausalLM", _parse, _tensors, _drop_reason, _limits)
