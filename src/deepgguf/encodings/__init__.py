"""Stored forms of weights, one module each: a form is registered by being declared in this folder."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.plain import Plain
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType


def _declared() -> Iterator[type[Encoding]]:
    for info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, Encoding) and found.__module__ == module.__name__:
                yield found


_FORMS = tuple(_declared())
_BY_TYPE = {form.type: form() for form in _FORMS if issubclass(form, Plain | Quantized) and form.type is not None}

BY_DTYPE = {form.dtype: form for form in _FORMS if form.dtype}
"""The forms that a checkpoint may have, by the dtype of their weights."""

METHODS = tuple(sorted({method for form in _FORMS for method in form.methods}))
"""The `quant_method`s of config.json that deepgguf can read."""

PLAIN = frozenset(type for type, encoding in _BY_TYPE.items() if isinstance(encoding, Plain))
"""The types that hold every weight by itself."""

WRITTEN = frozenset(_BY_TYPE)
"""The types that deepgguf writes; GGMLType has some that are only read in headers."""

_COMPANIONS = tuple(suffix for form in _FORMS for suffix in form.companions)


def encoding_of(type: GGMLType) -> Plain | Quantized:
    """The form of a type in a GGUF file; ValueError for one that deepgguf does not write."""
    try:
        return _BY_TYPE[type]
    except KeyError:
        raise ValueError(f"{type.name} is not among the types that deepgguf writes") from None


def weight_of(name: str) -> str:
    """The weights that the tensor `name` goes with: itself, unless it is called as scales are.

    Only weights called NAME.weight have companions: none of the forms so far scales anything else.
    """
    if name.endswith(_COMPANIONS):
        for suffix in _COMPANIONS:
            if name.endswith(f".weight{suffix}"):
                return name.removesuffix(suffix)
    return name
