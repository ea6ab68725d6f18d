"""DeepSeek-V3.2, V3.2-Exp, V3.2-Speciale, Math-V2: `DeepseekV32ForCausalLM` (arXiv 2512.02556).

A DeepSeek-V3 whose attention looks only at the tokens that an indexer chooses (section 2.1, DSA). llama.cpp:
conversion/deepseek.py, DeepseekV32Model; src/models/deepseek32.cpp. Ollama's converter does not know it, but its engine
is llama.cpp's, so that both targets have one layout.
"""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from deepgguf.checkpoint.nested_config import language_part
from deepgguf.checkpoint.tokenizer import Tokenizer
from deepgguf.choices import FileKind
from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import GGMLType, Value
from deepgguf.models import bundled_templates, deepseek_v3
from deepgguf.models.config_schema import JsonObject, Positive, to_config
from deepgguf.models.deepseek_v2 import llamacpp_keys
from deepgguf.models.engine_limits import attention_limits, routing_limits, unread_limits
from deepgguf.models.family import Family, KeyFacts, TargetFile
from deepgguf.models.language_model import (
    LanguageConfig,
    block_row,
    language_mtp_layers,
    language_table,
    parse_language_config,
    text_drop_reason,
)
from deepgguf.models.llamacpp import llamacpp_target
from deepgguf.models.table import Kind, Part, Row
from deepgguf.models.values import present, uint32
from deepgguf.recipes.choice import Exceptions, Pin
from deepgguf.recipes.patterns import TypePattern

# What transformers' configuration_deepseek_v32.py gives a field that config.json leaves out. Its model knows no other
# scoring function than the sigmoid, so that what it saves names none; the engine refuses a file without one.
DEFAULTS: JsonObject = {
    **deepseek_v3.DEFAULTS,
    "first_k_dense_replace": 3,
    "index_n_heads": 64,
    "index_head_dim": 128,
    "index_topk": 2048,
    "layer_types": None,
}

_AFTER_ATTENTION = re.compile(r"model\.layers\.(\d+)\.post_attention_layernorm\.weight")
_HADAMARD = 64  # llama-kv-cache.cpp: the indexer's keys are rotated in runs of so many

# llama.cpp's converter keeps it in Q8_0 files too; llama-quantize quantizes it, as any matrix, by every recipe.
_EXCEPTIONS = Exceptions(pins=(Pin(("q8_0",), TypePattern(r"indexer\.proj\.weight", GGMLType.F32)),))


class Indexer(msgspec.Struct, frozen=True):
    """The fields of config.json that are the indexer's; transformers 5 names the attention of every layer too."""

    index_n_heads: Positive
    index_head_dim: Positive
    index_topk: Positive
    layer_types: tuple[Literal["indexed_attention"], ...] | None = None


class V32Config(msgspec.Struct, frozen=True):
    """A language model like DeepSeek-V3's, and its indexer."""

    language: LanguageConfig
    indexer: Indexer


def _parse(config: JsonObject, where: str) -> V32Config:
    indexer = to_config(language_part(config), DEFAULTS, Indexer, where)
    language = parse_language_config(config, DEFAULTS, where)
    for key in ("q_lora_rank", "use_mla"):
        if not getattr(language, key):
            found = f"{key} is {getattr(language, key)}, but the indexer works on MLA's compressed queries"
            raise CheckpointError(where, found, "compare with the model's original config.json")
    return V32Config(language, indexer)


def _table(c: V32Config, mtp_layers: int) -> Iterator[Row]:
    for row in language_table(c.language, mtp_layers):
        after = _AFTER_ATTENTION.fullmatch(row.source)
        if after:
            for part in _indexer(c, int(after[1])):
                yield _for_both(part, row.part)
        yield _for_both(row, row.part)


def _for_both(row: Row, part: Part) -> Row:
    """Ollama has no layout of its own: its engine takes llama.cpp's."""
    outputs = row.outputs["llama.cpp"]
    return msgspec.structs.replace(row, part=part, outputs={"ollama": outputs, "llama.cpp": outputs})


def _indexer(c: V32Config, block: int) -> Iterator[Row]:
    """The indexer of a block (section 2.1, equation 1; gguf-py, constants.py, INDEXER_*).

    What weighs its heads is F32 in every file, as is what scores experts (conversion/base.py, prepare_tensors).
    """
    p, heads, width = "self_attn.indexer.", c.indexer.index_n_heads, c.indexer.index_head_dim
    queries, hidden = (heads * width, c.language.q_lora_rank or 0), c.language.hidden_size
    yield block_row(block, f"{p}wq_b.weight", Kind.LINEAR, queries, "indexer.attn_q_b.weight")
    yield block_row(block, f"{p}wk.weight", Kind.LINEAR, (width, hidden), "indexer.attn_k.weight")
    yield block_row(block, f"{p}k_norm.weight", Kind.NORM, (width,), "indexer.k_norm.weight")
    yield block_row(block, f"{p}k_norm.bias", Kind.NORM, (width,), "indexer.k_norm.bias")
    yield block_row(block, f"{p}weights_proj.weight", Kind.ROUTER, (heads, hidden), "indexer.proj.weight")


def _keys(c: V32Config, facts: KeyFacts) -> dict[str, Value]:
    own = {
        "attention.indexer.head_count": uint32(c.indexer.index_n_heads),
        "attention.indexer.key_length": uint32(c.indexer.index_head_dim),
        "attention.indexer.top_k": uint32(c.indexer.index_topk),
    }
    return llamacpp_keys(c.language, facts) | present(own, f"{facts.architecture}.")


def _drop_reason(c: V32Config, name: str) -> str | None:
    return text_drop_reason(c.language, name)


def _limits(c: V32Config) -> tuple[str, ...]:
    language, width = c.language, c.indexer.index_head_dim
    found = [*unread_limits(language), *routing_limits(language), *attention_limits(language)]
    if width % _HADAMARD:
        found.append(f"index_head_dim is {width}: llama.cpp runs this model only with a multiple of {_HADAMARD}")
    return tuple(found)


def _prompt_limits(tokenizer: Tokenizer) -> tuple[str, ...]:
    if tokenizer.special.add_bos is not False:
        return ()
    return (
        "tokenizer_config.json has add_bos_token false, and the file says so too: this model learned prompts that "
        "begin with BOS; set it to true unless your program puts BOS there itself",
    )


_FILES: dict[FileKind, TargetFile[V32Config]] = {"text": TargetFile("deepseek32", _keys)}

FAMILY = Family(
    name="DeepseekV32ForCausalLM",
    parse=_parse,
    table=_table,
    drop_reason=_drop_reason,
    targets={
        "llama.cpp": llamacpp_target(_FILES, exceptions=_EXCEPTIONS, mtp=("keep", "drop", "only")),
        "ollama": llamacpp_target(_FILES, exceptions=_EXCEPTIONS, mtp=("keep", "drop")),
    },
    limits=_limits,
    model_type="deepseek_v32",
    mtp_layers=lambda c: language_mtp_layers(c.language),
    prompt_limits=_prompt_limits,
    chat_template=lambda config: bundled_templates.V32,
)
