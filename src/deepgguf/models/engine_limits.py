"""What the engine demands of a DeepSeek model, or computes otherwise, and no key can change.

Both targets' files run in it: since 0.30, Ollama gives every GGUF to llama.cpp. What is said here was read in ENGINE.
"""

from collections.abc import Iterator

from deepgguf.models.language_model import LanguageConfig
from deepgguf.models.rope import scaling_limits

ENGINE = "llama.cpp 0.5.0"

_LITE_LAYERS = (26, 27)
_LITE_LAYERS_AND_TOKENS = (48, 128_256)
_MOST_LAYERS, _MOST_EXPERTS = 512, 1024  # llama-hparams.h, LLAMA_MAX_LAYERS, LLAMA_MAX_EXPERTS


def engine_limits(c: LanguageConfig) -> tuple[str, ...]:
    """A sentence for everything about a model with this config that the engine does not do."""
    return (*unread_limits(c), *_loading(c), *routing_limits(c), *attention_limits(c))


def unread_limits(c: LanguageConfig) -> Iterator[str]:
    """Fields that nobody looked at."""
    if c.unread:
        yield (
            f"config.json has fields that deepgguf does not know and does not read: {', '.join(c.unread)}; if one of "
            "them changes what the model computes, the file computes something else"
        )


def _loading(c: LanguageConfig) -> Iterator[str]:
    """deepseek2.cpp, load_arch_hparams: is_lite, the variant without q_lora_rank; llama-model.cpp, load_hparams."""
    layers, tokens, lite = c.num_hidden_layers, c.vocab_size, c.q_lora_rank is None
    if lite != (layers in _LITE_LAYERS or (layers, tokens) == _LITE_LAYERS_AND_TOKENS):
        yield (
            f"the engine of both targets ({ENGINE}) expects no q_lora_rank with 26 or 27 layers, or with 48 layers and "
            f"128,256 tokens, and one otherwise; this model has {layers} layers, {tokens:,} tokens and "
            f"{'none' if lite else 'one'}, so that engine will not load the file"
        )
    if layers > _MOST_LAYERS or c.n_routed_experts > _MOST_EXPERTS:
        yield (
            f"the engine of both targets ({ENGINE}) loads at most {_MOST_LAYERS} layers and {_MOST_EXPERTS:,} experts; "
            f"this model has {layers:,} and {c.n_routed_experts:,}"
        )


def routing_limits(c: LanguageConfig) -> Iterator[str]:
    """Groups of experts that the engine does not take."""
    if c.n_group and c.n_group > 1 and c.n_group == c.n_routed_experts and c.topk_group != c.n_group:
        yield (
            f"the engine of both targets ({ENGINE}) expects fewer groups of experts than experts; this model has "
            f"{c.n_group} of each, so that engine will not load the file"
        )


def attention_limits(c: LanguageConfig) -> Iterator[str]:
    """Windows and stretched positions that the engine does not compute."""
    if c.sliding_window and c.sliding_window < c.max_position_embeddings:
        yield (
            f"sliding_window is {c.sliding_window}, but the engines' deepseek2 has no window: it attends to all "
            "tokens, as transformers does here; a model that was trained with one is right up to its length"
        )
    if c.scaling:
        yield from scaling_limits(c.scaling, c.qk_rope_head_dim, c.rope_theta or 10000.0)
