"""Tensors that trainers leave in a checkpoint and that have no place in a GGUF file, each with the reason."""

import re

_NO_PLACE = {
    r"rotary_emb\.(\w*inv_freq|cos_cached|sin_cached)|embeddings\.position_ids": "buffers that the engines compute",
    r"v_head\..*|value_head\..*": "the value head of reinforcement learning (TRL), which only training uses",
    r".*\._extra_state\d*": "state of Transformer Engine (Megatron), which only training uses",
    r"(local|global)_tokens_per_expert": "counts of tokens by expert (Megatron), which only training uses",
}
_ANY = [(re.compile(rf"(.*\.)?({pattern})"), reason) for pattern, reason in _NO_PLACE.items()]


def no_place_reason(name: str) -> str | None:
    """Why the tensor `name` is left out of every model; None if it may not be."""
    return next((reason for pattern, reason in _ANY if pattern.fullmatch(name)), None)
