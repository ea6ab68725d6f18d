"""DeepSeek-V3, R1, V3.1: `DeepseekV3ForCausalLM` (arXiv 2412.19437)."""

from collections.abc import Iterator

from deepgguf.architectures.architecture import Architecture, Model
from deepgguf.architectures.config_schema import JsonObject
from deepgguf.architectures.language_model import language_drop_reason, language_tensors, parse_language_config
from deepgguf.architectures.tensors import ExpectedTensor

# What configuration_deepseek.py of DeepSeek-V3 gives a field that config.json leaves out.
DEFAULTS: JsonObject = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "moe_layer_freq": 1,
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "topk_method": "noaux_tc",
    "n_group": 8,
    "topk_group": 4,
    "q_lora_rank": 1536,
    "use_mla": True,
}


def _parse(config: JsonObject, where: str) -> Model:
    return Model("DeepseekV3ForCausalLM", parse_language_config(config, DEFAULTS, where))


def _tensors(model: Model) -> Iterator[ExpectedTensor]:
    return language_tensors(model.language)


def _drop_reason(model: Model, name: str) -> str | None:
    return language_drop_reason(model.language, name)


ARCHITECTURE = Architecture("DeepseekV3ForCausalLM", _parse, _tensors, _drop_reason)
