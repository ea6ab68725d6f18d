"""A language model's config.json in the words of DeepSeek's own: other fields that say the same."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from deepgguf.errors import CheckpointError
from deepgguf.models.config_schema import JsonObject

# attribute_map of transformers' DeepseekV3Config and DeepseekV2Config.
ALIASES = {
    "num_local_experts": "n_routed_experts",
    "num_experts": "n_routed_experts",
    "num_mtp_layers": "num_nextn_predict_layers",
}

# Fields that say of every block whether it is dense, by word.
BY_BLOCK: Mapping[str, Mapping[object, bool]] = {
    "mlp_layer_types": {"dense": True, "sparse": False, "moe": False},
    "moe_layer_freq": {0: True, 1: False},
}


class _Demand(NamedTuple):
    """What the engines can run of a field, in words and as a test, and why no more."""

    runs: Callable[[object], bool]
    expected: str
    reason: str


# Looked at before their types are, so that null has a reason too (deepseek2.cpp; GELU and the like: LLM_FFN_SILU).
_DEMANDS = {
    "hidden_act": _Demand(
        lambda value: value in (None, "silu", "swish"), "'silu'", "the engines' deepseek2 computes no other activation"
    ),
    "n_shared_experts": _Demand(
        lambda value: value not in (None, 0),
        "at least 1",
        "the engines' deepseek2 loads no model without shared experts",
    ),
}


def in_own_words(raw: JsonObject, where: str) -> JsonObject:
    """`raw` with DeepSeek's fields in place of others; CheckpointError for what these cannot say, or no engine run."""
    said = dict(raw)
    said |= {name: raw[alias] for alias, name in ALIASES.items() if alias in raw and name not in raw}
    if said.get("num_key_value_heads") is None and "num_attention_heads" in said:
        said["num_key_value_heads"] = said["num_attention_heads"]  # as transformers fills it in
    if said.get("use_sliding_window") is False:
        said["sliding_window"] = None
    for name, demand in _DEMANDS.items():
        if name in said and not demand.runs(said[name]):
            raise CheckpointError(where, f"{name} is {said[name]!r}, expected {demand.expected}", demand.reason)
    for name, words in BY_BLOCK.items():
        kinds = raw.get(name)
        if isinstance(kinds, list):
            said |= {"first_k_dense_replace": _dense_blocks(name, kinds, words, said, where), "moe_layer_freq": 1}
    return said


def _dense_blocks(
    name: str, kinds: list[object], words: Mapping[object, bool], said: JsonObject, where: str
) -> int:  # fmt: skip
    """How many blocks are dense, all before those with experts; `kinds` may go on to layers of MTP."""
    blocks = said.get("num_hidden_layers")
    dense = [words.get(kind) if isinstance(kind, int | str) else None for kind in kinds]
    dense = dense[:blocks] if isinstance(blocks, int) and blocks > 0 else dense
    first = dense.index(False) if False in dense else len(dense)
    if len(dense) != blocks or dense != [block < first for block in range(len(dense))]:
        expected = f"a word for each of {blocks} blocks, the dense ones first"
        raise CheckpointError(where, f"{name} is {kinds}, expected {expected}", "the engines know no other order")
    if said.get("first_k_dense_replace", first) != first:
        found = f"{name} has {first} dense blocks, but first_k_dense_replace is {said['first_k_dense_replace']}"
        raise CheckpointError(where, found, "compare with the model's original config.json")
    return first
