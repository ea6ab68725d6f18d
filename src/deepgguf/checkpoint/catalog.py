"""The tensors of a checkpoint, each with its form and all its blobs, out of the headers of its shards."""

from collections.abc import Mapping

import msgspec

from deepgguf.encodings import BY_DTYPE, weight_of
from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.fp8 import Fp8
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors import TensorHeader
from deepgguf.tensors.source_tensor import Blob, SourceTensor


class _Quantization(msgspec.Struct):
    weight_block_size: tuple[int, int] | None = None


class _Config(msgspec.Struct):
    quantization_config: _Quantization | None = None


def declared_block(config: Mapping[str, object]) -> tuple[int, int] | None:
    """Rows and columns that share a scale, as config.json says; None if it does not, or not in a form that makes sense.

    A `language_config` within it goes first. What is wrong with a config is said where the model is read from it.
    """
    language = config.get("language_config")
    try:
        said = msgspec.convert({**config, **language} if isinstance(language, Mapping) else dict(config), _Config)
    except msgspec.ValidationError:
        return None
    return said.quantization_config.weight_block_size if said.quantization_config else None


def catalog(
    headers: Mapping[str, TensorHeader], blobs: Mapping[str, Blob], block: tuple[int, int] | None
) -> dict[str, SourceTensor]:
    """The tensors by name, in the order of `headers`; `blobs` has where the bytes of each lie, in the same order.

    Scales are no tensors of their own, but blobs of their weights. What cannot be read is there as `Opaque`: it matters
    only if it is needed.
    """
    beside, orphans = _companions(headers)
    taken = {name for names in beside.values() for name in names}
    forms: dict[object, Encoding] = {}
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
    tensors: dict[str, SourceTensor] = {}
    for (name, header), blob in zip(headers.items(), blobs.values(), strict=True):
        if name not in taken:
            names = beside.get(name, ())
            encoding = orphans.get(name) or _form(header, [headers[scales] for scales in names], block, forms)
            shape = shapes.setdefault(header.shape, header.shape)
            tensors[name] = SourceTensor(name, shape, encoding, (blob, *[blobs[scales] for scales in names]))
    return tensors


def _companions(headers: Mapping[str, TensorHeader]) -> tuple[dict[str, tuple[str, ...]], dict[str, Opaque]]:
    """The names of the tensors that go with each name; and those that are called so, but go with none."""
    beside: dict[str, tuple[str, ...]] = {}
    orphans: dict[str, Opaque] = {}
    for name in headers:
        weight = weight_of(name)
        if weight != name:
            weights = headers.get(weight)
            form = BY_DTYPE.get(weights.dtype) if weights else None
            if form and name[len(weight) :] in form.companions:
                beside[weight] = (*beside[weight], name) if weight in beside else (name,)
            else:
                found = f"a scale, but there is no {Fp8.dtype} tensor {weight}"
                orphans[name] = Opaque(f"tensor {name}", found)
    return beside, orphans


def _form(
    weights: TensorHeader, beside: list[TensorHeader], block: tuple[int, int] | None, known: dict[object, Encoding]
) -> Encoding:
    """The weights' form, out of `known` if there are others like them: few objects for 46,000 tensors."""
    length = len(weights.name)
    kind: object = (weights.dtype, weights.shape, *[(h.dtype, h.shape, h.name[length:]) for h in beside])
    form = known.get(kind)
    if form is None:
        try:
            form = _describe(weights, beside, block)
        except CheckpointError as error:
            return Opaque(error.where, error.found, error.advice)
        known[kind] = form
    return form


def _describe(weights: TensorHeader, beside: list[TensorHeader], block: tuple[int, int] | None) -> Encoding:
    form = BY_DTYPE.get(weights.dtype)
    if form is None:
        found = f"dtype {weights.dtype}, expected one of {', '.join(sorted(BY_DTYPE))}"
        raise CheckpointError(f"tensor {weights.name}", found, "convert the original checkpoint")
    return form.describe(weights, beside, block)
