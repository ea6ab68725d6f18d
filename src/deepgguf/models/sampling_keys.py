"""The general.sampling.* keys: how the model's authors draw tokens, by its generation_config.json."""

from collections.abc import Mapping

from deepgguf.formats.gguf.types import Value, ValueType

_INT, _FLOAT, _TEXT = ValueType.INT32, ValueType.FLOAT32, ValueType.STRING

# gguf-py, metadata.py (Metadata.load) and constants.py (Keys.General): a key's name, its type, the fields that give it.
_FIELDS = (
    ("sequence", _TEXT, ("sequence",)),
    ("top_k", _INT, ("top_k",)),
    ("top_p", _FLOAT, ("top_p",)),
    ("min_p", _FLOAT, ("min_p",)),
    ("xtc_probability", _FLOAT, ("xtc_probability",)),
    ("xtc_threshold", _FLOAT, ("xtc_threshold",)),
    ("temp", _FLOAT, ("temperature",)),
    ("penalty_last_n", _INT, ("penalty_last_n",)),
    ("penalty_repeat", _FLOAT, ("penalty_repeat", "repetition_penalty")),
    ("mirostat", _INT, ("mirostat",)),
    ("mirostat_tau", _FLOAT, ("mirostat_tau",)),
    ("mirostat_eta", _FLOAT, ("mirostat_eta",)),
)
_LARGEST = 2**31 - 1


def sampling_keys(generation: Mapping[str, object]) -> dict[str, Value]:
    """A key for every field of generation_config.json that is there and has the type that engines read."""
    keys = {}
    for name, type, fields in _FIELDS:
        found = next((generation[field] for field in fields if generation.get(field) is not None), None)
        value = _as_key(type, found)
        if value is not None:
            keys[f"general.sampling.{name}"] = value
    return keys


def _as_key(type: ValueType, found: object) -> Value | None:
    if type is _TEXT:
        return Value(type, found) if isinstance(found, str) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= _LARGEST:
        return None
    if type is _FLOAT:
        return Value(type, float(found))
    return Value(type, found) if isinstance(found, int) else None
