"""A patch from what the caller gives."""

from collections.abc import Mapping
from typing import Any

from deepgguf.checkpoint.chat_templates import read_template_file
from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.gguf_source import GGUFSource
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.planning.doctor import examine
from deepgguf.planning.key_overrides import overridden, parse_overrides
from deepgguf.planning.options import check_pre
from deepgguf.planning.patch_gguf import Patch, checkpoint_keys

_PRE, _TEMPLATE = "tokenizer.ggml.pre", "tokenizer.chat_template"


def parse_patch(source: GGUFSource, chosen: Mapping[str, Any], checkpoint: Checkpoint | None) -> Patch:
    """The patch of `source` by complete choices: what the doctor finds if `mend`, what `checkpoint` says, what was
    chosen itself, of which the later counts.

    UsageError for choices that make no sense, or a patch of nothing.
    """
    found = [finding.mend for finding in examine(source)] if chosen["mend"] else []
    keys = _keys(source, {"override_kv": tuple(text for mend in found for text in mend.get("override_kv", ()))})
    for name in (name for mend in found for name in mend.get("pre", ())):
        keys[_PRE] = _text(name)
    keys |= checkpoint_keys(source, checkpoint) if checkpoint else {}
    keys |= _keys(source, chosen)
    asked = chosen["remove_key"]
    removed = [
        *([asked] if isinstance(asked, str) else asked),
        *(key for mend in found for key in mend.get("remove_key", ())),
    ]
    patch = Patch(
        set={key: value for key, value in keys.items() if source.keys.get(key) != value},
        removed=tuple(dict.fromkeys(key for key in removed if key not in keys)),
        architecture=chosen["architecture"],
        split_kv_b=chosen["split_kv_b"] or any("split_kv_b" in mend for mend in found),
    )
    if patch == Patch():
        raise UsageError("the patch", "nothing in the file would change", "look at it with `deepgguf doctor`")
    return patch


def _keys(source: GGUFSource, chosen: Mapping[str, Any]) -> dict[str, Value]:
    """What was chosen key by key, each of the kind that the file has."""
    overrides = parse_overrides(chosen["override_kv"])
    changed = overridden(source.keys, overrides)
    keys = {override.key: changed[override.key] for override in overrides}
    if chosen.get("pre") is not None:
        check_pre(chosen["pre"])
        keys[_PRE] = _text(chosen["pre"])
    if chosen.get("chat_template") is not None:
        keys[_TEMPLATE] = _text(read_template_file(chosen["chat_template"]))
    return keys


def _text(text: str) -> Value:
    return Value(ValueType.STRING, text)
