"""The tensors of a checkpoint, each with its form and all its blobs, out of the headers of its shards."""

from collections.abc import Mapping

from deepgguf.checkpoint.nested_config import language_part
from deepgguf.encodings import BY_DTYPE, METHODS, weight_of
from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors import TensorHeader
from deepgguf.tensors.source_tensor import Blob, SourceTensor


def declared_quantization(config: Mapping[str, object]) -> Mapping[str, object]:
    """`quantization_config` of config.json, empty if there is none; one of the language model within it goes first.

    CheckpointError if it is not an object, or its `quant_method` is that of no form that deepgguf can read.
    """
    found = language_part(config).get("quantization_config")
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        expected = f"quantization_config is {type(found).__name__}, expected an object"
        raise CheckpointError("config.json", expected)
    method = found.get("quant_method")
    if method not in METHODS:
        expected = f"expected {' or '.join(map(repr, METHODS))}"
        advice = "convert the original checkpoint, not a quantized copy"
        raise CheckpointError("config.json", f"quantization_config.quant_method is {method!r}, {expected}", advice)
    return found


def catalog(
    headers: Mapping[str, TensorHeader], blobs: Mapping[str, Blob], quantization: Mapping[str, object]
) -> dict[str, SourceTensor]:
    """The tensors by name, in the order of `headers`; `blobs` says where the bytes of each lie, in the same order.

    Scales are not tensors of their own, but blobs of their weights. What cannot be read is there as `Opaque`: it
    matters only if it is needed.
    """
    beside, orphans = _companions(headers)
    taken = {name for names in beside.values() for name in names}
    forms: dict[object, Encoding] = {}  # few objects for 46,000 tensors
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
    tensors: dict[str, SourceTensor] = {}
    for (name, header), blob in zip(headers.items(), blobs.values(), strict=True):
        if name in taken:
            continue
        names = beside.get(name, ())
        scales = [headers[scale] for scale in names]
        alike = (header.dtype, header.shape, *[(s.dtype, s.shape, s.name[len(name) :]) for s in scales])
        encoding = orphans.get(name) or forms.get(alike) or _form(header, scales, quantization)
        if not isinstance(encoding, Opaque):  # its words name the tensor
            forms[alike] = encoding
        shape = shapes.setdefault(header.shape, header.shape)
        tensors[name] = SourceTensor(name, shape, encoding, (blob, *[blobs[scale] for scale in names]))
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
                dtypes = " or ".join(f.dtype for f in BY_DTYPE.values() if name[len(weight) :] in f.companions)
                orphans[name] = Opaque(f"tensor {name}", f"a scale, but there is no {dtypes} tensor {weight}")
    return beside, orphans


def _form(weights: TensorHeader, beside: list[TensorHeader], quantization: Mapping[str, object]) -> Encoding:
    form = BY_DTYPE.get(weights.dtype)
    if form is None:
        found = f"dtype {weights.dtype}, expected one of {', '.join(sorted(BY_DTYPE))}"
        return Opaque(f"tensor {weights.name}", found, "convert the original checkpoint")
    try:
        return form.describe(weights, beside, quantization)
    except CheckpointError as error:
        return Opaque(error.where, error.found, error.advice)
