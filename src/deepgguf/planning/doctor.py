"""What an engine will stumble over in a GGUF file, and what mends it."""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from deepgguf.checkpoint.chat_template import broken_template
from deepgguf.checkpoint.gguf_source import ARCHITECTURE, GGUFSource
from deepgguf.checkpoint.pre_tokenizer import KNOWN_NAMES
from deepgguf.encodings import PLAIN, encoding_of
from deepgguf.models import known_families

_PRE, _TOKENS, _TEMPLATE = "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.chat_template"
_EOS = "tokenizer.ggml.eos_token_id"
_FROM = "give the small files of its checkpoint: `checkpoint`"

# Released models by layers, width and experts: groups of experts, and how many of these a token uses (config.json).
_GROUPS: Mapping[tuple[int, int, int], tuple[int, int]] = {
    (61, 7168, 256): (8, 4),  # V3, R1, V3.1
    (60, 5120, 160): (8, 3),  # V2, V2.5, Coder-V2
}
# By the number of tokens: the pre-tokenizer of the vocabularies of V3 and of V2.
_PRE_OF = {129280: "deepseek-v3", 102400: "deepseek-llm"}
_END = "<｜end▁of▁sentence｜>"

# Without these the engine does not load a DeepSeek model (llama-model.cpp, load_hparams; deepseek2.cpp).
_NEEDED = (
    "block_count", "context_length", "embedding_length", "attention.head_count", "expert_count", "expert_used_count",
    "attention.layer_norm_rms_epsilon", "expert_shared_count", "expert_feed_forward_length",
)  # fmt: skip


class Finding(msgspec.Struct, frozen=True):
    """What is wrong, and what comes of it; `mend` has the choices of `patch` that mend it, `advice` what to do if none
    do by themselves.
    """

    found: str
    mend: Mapping[str, tuple[str, ...]] = {}
    advice: str = ""


def examine(source: GGUFSource) -> tuple[Finding, ...]:
    """What an engine will stumble over, the worst first."""
    return tuple(finding for check in _CHECKS for finding in check(source))


def _unknown_architecture(source: GGUFSource) -> Iterator[Finding]:
    name = source.architecture
    known = {
        file.architecture
        for family in known_families().values()
        for target in family.targets.values()
        for file in target.files.values()
    }
    if name not in known:
        found = f"{ARCHITECTURE} is {name!r}, which deepgguf does not know, so only keys of any model are looked at"
        yield Finding(
            found, advice=f"if an engine has it under another name: `architecture`, one of {', '.join(sorted(known))}"
        )


def _missing_sizes(source: GGUFSource) -> Iterator[Finding]:
    name = source.architecture
    if not name.startswith("deepseek"):
        return
    missing = [key for key in _NEEDED if f"{name}.{key}" not in source.keys]
    if missing:
        yield Finding(f"llama.cpp does not load the file without {', '.join(missing)}", advice=_FROM)


def _groups(source: GGUFSource) -> Iterator[Finding]:
    """DeepSeek-V3, section 2.1.2; docs/differences.md, the first."""
    name, experts = source.architecture, source.number("expert_count")
    if name != "deepseek2" or not experts:
        return
    groups, used = source.number("expert_group_count"), source.number("expert_group_used_count")
    if groups and groups > 1 and (used is None or used >= groups):
        found = f"{used or 'no'} of {groups} groups of experts are used, on which the engine aborts"
        yield Finding(found, _group_keys(name, 1, 1))
    sizes = (source.number("block_count") or 0, source.number("embedding_length") or 0, experts)
    if groups is not None or not _scored_by_sigmoid(source):
        return
    found = "the keys for groups of experts are missing: the engine chooses among all experts, and tokens go to others"
    known = _GROUPS.get(sizes)
    if known:
        yield Finding(found, _group_keys(name, *known))
    else:
        yield Finding(f"{found} if the model has such groups (n_group in config.json)", advice=_FROM)


def _group_keys(name: str, groups: int, used: int) -> Mapping[str, tuple[str, ...]]:
    keys = (f"{name}.expert_group_count=int:{groups}", f"{name}.expert_group_used_count=int:{used}")
    return {"override_kv": keys}


def _scored_by_sigmoid(source: GGUFSource) -> bool:
    return any(tensor.name.endswith("exp_probs_b.bias") for header in source.headers for tensor in header.tensors)


def _zeros(source: GGUFSource) -> Iterator[Finding]:
    """Keys that Ollama's converter writes for what a model lacks (docs/differences.md, the fourth)."""
    name = source.architecture
    for key, nothing in (("attention.q_lora_rank", 0), ("rope.scaling.type", ""), ("rope.scaling.factor", 0)):
        value = source.keys.get(f"{name}.{key}")
        if value is not None and value.value == nothing:
            found = f"{name}.{key} is {nothing!r}, where a model without it has no key: llama.cpp takes it for a value"
            yield Finding(found, {"remove_key": (f"{name}.{key}",)})


def _unsplit_attention(source: GGUFSource) -> Iterator[Finding]:
    unsplit = [t for header in source.headers for t in header.tensors if t.name.endswith("attn_kv_b.weight")]
    if not unsplit or f"{source.architecture}.attention.key_length_mla" in source.keys:
        return
    found = (
        "attn_kv_b is not cut into attn_k_b and attn_v_b: the engine runs without latent attention, and its cache is"
    )
    quantized = sorted({t.type.name for t in unsplit if t.type not in PLAIN})
    note = f"; attn_k_b becomes F32, as {', '.join(quantized)} cannot be transposed" if quantized else ""
    yield Finding(f"{found} many times as large{note}", {"split_kv_b": ()})


def _pre_tokenizer(source: GGUFSource) -> Iterator[Finding]:
    value, tokens = source.keys.get(_PRE), source.keys.get(_TOKENS)
    if tokens is None or not isinstance(tokens.value, list):
        yield Finding("the file has no tokens, so no engine can read text for it", advice="convert the model again")
        return
    name = value.value if value else None
    if isinstance(name, str) and name in KNOWN_NAMES and name != "default":
        return
    own = _PRE_OF.get(len(tokens.value))
    said = "is missing" if value is None else f"is {name!r}"
    consequence = "text is split otherwise than the model learned it"
    mend = {"pre": (own,)} if own else {}
    yield Finding(f"{_PRE} {said}: {consequence}", mend, "" if own else _FROM)


def _end_of_answers(source: GGUFSource) -> Iterator[Finding]:
    value, tokens = source.keys.get(_EOS), source.keys.get(_TOKENS)
    texts = tokens.value if tokens and isinstance(tokens.value, list) else []
    if value is not None and isinstance(value.value, int) and 0 <= value.value < len(texts):
        return
    said = "is missing" if value is None else f"is {value.value}, and there are {len(texts):,} tokens"
    mend = {"override_kv": (f"{_EOS}=int:{texts.index(_END)}",)} if _END in texts else {}
    yield Finding(f"{_EOS} {said}: answers may not end", mend, "" if mend else _FROM)


def _chat_template(source: GGUFSource) -> Iterator[Finding]:
    value = source.keys.get(_TEMPLATE)
    if value is None:
        yield Finding(
            "there is no chat template: engines take one of another model", advice=f"`chat_template`, or {_FROM}"
        )
    elif broken := broken_template(str(value.value)):
        yield Finding(f"the chat template cannot be read: {broken}", advice=f"`chat_template`, or {_FROM}")


def _unread_types(source: GGUFSource) -> Iterator[Finding]:
    for header in source.headers:
        for tensor in header.tensors:
            try:
                encoding_of(tensor.type)
            except ValueError:
                found = f"{tensor.name} is {tensor.type.name}, which deepgguf can neither decode nor copy"
                yield Finding(found, advice="keep the file as it is")
                return


_CHECKS: tuple[Callable[[GGUFSource], Iterator[Finding]], ...] = (
    _unknown_architecture,
    _missing_sizes,
    _groups,
    _zeros,
    _end_of_answers,
    _pre_tokenizer,
    _chat_template,
    _unsplit_attention,
    _unread_types,
)
