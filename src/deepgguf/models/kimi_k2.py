"""Kimi-K2 and K2-Thinking (moonshotai): `DeepseekV3ForCausalLM` with model_type kimi_k2 (arXiv 2507.20534).

What is not DeepSeek-V3's is the tokenizer, a tiktoken.model (checkpoint/tiktoken.py), INT4 experts
(encodings/packed_int.py) and YaRN's betas.
"""

import msgspec

from deepgguf.formats.gguf.types import Value
from deepgguf.models import deepseek_v2, deepseek_v3
from deepgguf.models.family import KeyFacts, TargetFile
from deepgguf.models.language_keys import beta_keys
from deepgguf.models.language_model import LanguageConfig
from deepgguf.models.ollama import ollama_target
from deepgguf.models.values import present


def ollama_keys(c: LanguageConfig, facts: KeyFacts) -> dict[str, Value]:
    """DeepSeek-V3's, and the betas, which are the engine's own there and not here."""
    return deepseek_v2.ollama_keys(c, facts) | present(beta_keys(c), f"{facts.architecture}.")


FAMILY = msgspec.structs.replace(
    deepseek_v3.FAMILY,
    name="kimi_k2",
    variant_of=deepseek_v3.FAMILY.name,
    model_type="",
    targets={
        "ollama": ollama_target(TargetFile("deepseek2", ollama_keys), deepseek_v2.NARROW),
        "llama.cpp": deepseek_v3.FAMILY.targets["llama.cpp"],
    },
    pre="kimi-k2",
)
