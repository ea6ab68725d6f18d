"""DeepSeek-V3, R1, V3.1: `DeepseekV3ForCausalLM` (arXiv 2412.19437), which the engines run as a DeepSeek-V2."""

from deepgguf.models import deepseek_v2
from deepgguf.models.config_schema import JsonObject
from deepgguf.models.engine_limits import engine_limits
from deepgguf.models.family import Family
from deepgguf.models.language_model import (
    LanguageConfig,
    language_mtp_layers,
    language_table,
    parse_language_config,
    text_drop_reason,
)

# What configuration_deepseek.py of DeepSeek-V3 gives a field that config.json leaves out.
DEFAULTS: JsonObject = {
    **deepseek_v2.DEFAULTS,
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "topk_method": "noaux_tc",
    "n_group": 8,
    "topk_group": 4,
    "rope_interleave": True,
    "num_nextn_predict_layers": 1,
}


def _parse(config: JsonObject, where: str) -> LanguageConfig:
    return parse_language_config(config, DEFAULTS, where)


FAMILY = Family(
    name="DeepseekV3ForCausalLM",
    parse=_parse,
    table=language_table,
    drop_reason=text_drop_reason,
    targets=deepseek_v2.FAMILY.targets,
    limits=engine_limits,
    model_type="deepseek_v3",
    mtp_layers=language_mtp_layers,
)
