"""Keys of every mmproj, from the (pre)processor's config."""

from collections.abc import Mapping

from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.models.family import KeyFacts
from deepgguf.models.values import array

_WITHIN = ("image_processor", "media_proc_cfg")  # where transformers 5 and Kimi-K2.5 have them
_HALF = [0.5, 0.5, 0.5]


def colour_keys(facts: KeyFacts) -> dict[str, Value | None]:
    """How the numbers of each colour are brought around zero. CheckpointError for what is not one for each of three."""
    return {f"vision.{key}": _channels(facts, key) for key in ("image_mean", "image_std")}


def _channels(facts: KeyFacts, key: str) -> Value | None:
    """Three numbers, one per colour; one half each where the config has none."""
    values = _said(facts).get(key, _HALF)
    if not (isinstance(values, list) and len(values) == 3 and all(type(v) in (int, float) for v in values)):
        raise CheckpointError(facts.checkpoint.processor_file, f"{key} is {values!r}, expected three numbers")
    return array(ValueType.FLOAT32, [float(v) for v in values])


def processor_number(facts: KeyFacts, key: str, default: int) -> int:
    """A number above zero; CheckpointError for anything else."""
    value = _said(facts).get(key, default)
    if not (isinstance(value, int) and 0 < value < 1 << 20):
        raise CheckpointError(facts.checkpoint.processor_file, f"{key} is {value!r}, expected a number of 1 to 2^20")
    return value


def _said(facts: KeyFacts) -> Mapping[str, object]:
    processor = facts.checkpoint.processor
    if isinstance(processor, CheckpointError):
        raise processor
    within = (processor.get(name) for name in _WITHIN)
    return next((inner for inner in within if isinstance(inner, Mapping)), processor)
