"""Stored forms of weights, one module each: a form is registered by being declared in this folder."""

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module

from deepgguf.encodings.encoding import Claim, Encoding
from deepgguf.encodings.plain import Plain
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import TensorHeader


def _declared() -> Iterator[type[Encoding]]:
    for info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, Encoding) and found.__module__ == module.__name__:
                yield found


_FORMS = tuple(_declared())
_BY_TYPE = {form.type: form() for form in _FORMS if issubclass(form, Plain | Quantized) and form.type is not None}

PLAIN_BY_DTYPE = {form.dtype: form() for form in _FORMS if issubclass(form, Plain) and form.dtype}
"""The forms that any tensor of a checkpoint may have, by its dtype."""

CLAIMS = tuple(
    sorted(((claim, form) for form in _FORMS for claim in form.claims), key=lambda pair: -len(pair[0].marks))
)
"""What the other forms take of a layer; those that ask for most first."""

_ALONE = {
    d for claim, form in CLAIMS if form.dtype and claim.weights == "weight" and not claim.marks for d in claim.dtypes
}

READ_DTYPES = tuple(sorted(_ALONE | PLAIN_BY_DTYPE.keys()))
"""The dtypes of tensors X.weight that deepgguf reads, whatever is beside them."""

WRITTEN = frozenset(_BY_TYPE) - {GGMLType.I32}
"""The types that deepgguf writes weights in; GGMLType has some that are only read in headers."""

PLAIN = frozenset(type for type, encoding in _BY_TYPE.items() if isinstance(encoding, Plain) and type in WRITTEN)
"""The types that hold every weight by itself."""

_PARTS = frozenset(part for claim, _ in CLAIMS for part in (claim.weights, *claim.companions))


def encoding_of(type: GGMLType) -> Plain | Quantized:
    """The form of a type in a GGUF file; ValueError for one that deepgguf does not write."""
    try:
        return _BY_TYPE[type]
    except KeyError:
        raise ValueError(f"{type.name} is not among the types that deepgguf writes") from None


def claim_of(layer: Mapping[str, TensorHeader]) -> tuple[Claim, type[Encoding]] | None:
    """The form that claims these tensors of a layer, by their names after the layer's; None if none does."""
    return next(((claim, form) for claim, form in CLAIMS if claim.fits(layer)), None)


def layer_and_part(name: str) -> tuple[str, str]:
    """The layer that the tensor `name` belongs to, and what it is to its weights; `name` and "" if no form says so."""
    layer, _, part = name.rpartition(".")
    if layer and part in _PARTS and not layer.endswith(".weight"):
        return layer, part
    layer, dot, part = name.rpartition(".weight.")
    return (layer, f"weight.{part}") if layer and dot and f"weight.{part}" in _PARTS else (name, "")


def weight_of(name: str) -> str:
    """The weights that the tensor `name` goes with, by the name that a model has for them: X.weight, or itself."""
    layer, part = layer_and_part(name)
    return f"{layer}.weight" if part else name
