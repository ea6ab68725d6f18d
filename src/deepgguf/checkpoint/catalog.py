"""The tensors of a checkpoint, each with its form and all its blobs, out of the headers of its shards."""

from collections.abc import Iterable, Mapping, Sequence

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


def catalog(shards: Sequence[Iterable[TensorHeader]], block: tuple[int, int] | None) -> dict[str, SourceTensor]:
    """The tensors by name, in the order of shards and their data; `shards[i]` are the headers of file number i.

    Scales are no tensors of their own, but blobs of their weights. What cannot be read is there as `Opaque`: it matters
    only if it is needed.
    """
    headers = {header.name: (file, header) for file, shard in enumerate(shards) for header in shard}
    beside: dict[str, list[str]] = {}
    orphans: dict[str, Opaque] = {}
    for name in headers:
        weight = weight_of(name)
        if weight != name:
            form = BY_DTYPE.get(headers[weight][1].dtype) if weight in headers else None
            if form and name.removeprefix(weight) in form.companions:
                beside.setdefault(weight, []).append(name)
            else:
                found = f"a scale, but there is no {Fp8.dtype} tensor {weight}"
                orphans[name] = Opaque(f"tensor {name}", found)
    taken = {name for names in beside.values() for name in names}
    forms: dict[object, Encoding] = {}
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
    tensors: dict[str, SourceTensor] = {}
    for name, (file, header) in headers.items():
        if name not in taken:
            others = [headers[scales] for scales in beside.get(name, ())]
            encoding = orphans.get(name) or _form(header, [scales for _, scales in others], block, forms)
            blobs = tuple(Blob(at, h.offset, h.nbytes) for at, h in ((file, header), *others))
            tensors[name] = SourceTensor(name, shapes.setdefault(header.shape, header.shape), encoding, blobs)
    return tensors


def _form(
    weights: TensorHeader, beside: Sequence[TensorHeader], block: tuple[int, int] | None, known: dict[object, Encoding]
) -> Encoding:
    """The weights' form, out of `known` if there are others like them: few objects for 46,000 tensors."""
    facts = ((h.name.removeprefix(weights.name), h.dtype, h.shape) for h in beside)
    kind = (weights.dtype, weights.shape if beside else (), *facts)
    if kind not in known:
        try:
            known[kind] = _describe(weights, beside, block)
        except CheckpointError as error:
            return Opaque(error.where, error.found, error.advice)
    return known[kind]


def _describe(weights: TensorHeader, beside: Sequence[TensorHeader], block: tuple[int, int] | None) -> Encoding:
    form = BY_DTYPE.get(weights.dtype)
    if form is None:
        found = f"dtype {weights.dtype}, expected one of {', '.join(sorted(BY_DTYPE))}"
        raise CheckpointError(f"tensor {weights.name}", found, "convert the original checkpoint")
    return form.describe(weights, beside, block)
