"""A config.json whose language model is described by an object within it, as wrappers for vision and speech have it."""

from collections.abc import Iterator, Mapping

NESTS = ("text_config", "llm_config", "language_config")
"""What most wrappers call that object."""

# What a language model's config has and an encoder's has not.
_OWN = ("vocab_size", "num_hidden_layers", "num_attention_heads")


def nested(config: Mapping[str, object]) -> tuple[str, Mapping[str, object]] | None:
    """The name of the object within `config` that describes the language model, and the object; None without one."""
    objects = {name: value for name, value in config.items() if isinstance(value, Mapping)}
    named = next((name for name in NESTS if name in objects), None)
    if named is None and not all(field in config for field in _OWN):
        likely = [name for name, value in objects.items() if all(field in value for field in _OWN)]
        named = likely[0] if len(likely) == 1 else None
    return (named, objects[named]) if named is not None else None


def levels(config: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """`config`, the object within it, and so on inwards."""
    yield config
    while inner := nested(config):
        _, config = inner
        yield config


def language_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """What `config` says of the language model: all of it, the object within going first."""
    merged: dict[str, object] = {}
    for level in levels(config):
        merged |= level
    return merged


def with_language_field(config: Mapping[str, object], name: str, value: object) -> dict[str, object]:
    """`config` with one field of its language model changed."""
    inner = nested(config)
    if inner is None:
        return {**config, name: value}
    key, part = inner
    return {**config, key: with_language_field(part, name, value)}
