"""The tensors of a checkpoint, each with its form and all its blobs, out of the headers of its shards."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from deepgguf.checkpoint.quantization import Quantization
from deepgguf.encodings import PLAIN_BY_DTYPE, READ_DTYPES, claim_of, layer_and_part
from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.foreign import convert_the_original, tool_of
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors import TensorHeader
from deepgguf.tensors.source_tensor import Blob, SourceTensor

_ROUND = "save the model in BF16 or F32: model.to(torch.bfloat16).save_pretrained()"

_Parts = dict[str, TensorHeader]  # tensors of a layer by what they are to its weights: "weight", "weight_scale" …


class _Form(NamedTuple):
    """How alike layers are stored: the form, the weights' shape, and what is read of the layer, the codes first."""

    encoding: Encoding
    shape: tuple[int, ...]
    stored: tuple[str, ...]


def catalog(
    headers: Mapping[str, TensorHeader], blobs: Mapping[str, Blob], quantization: Mapping[str, object]
) -> dict[str, SourceTensor]:
    """The tensors by name, in the order of `headers`; `blobs` says where the bytes of each lie, in the same order.

    `quantization` is what config.json says of it. Weights that a form stores in several tensors of layer X, whatever
    their names, are one tensor X.weight. What cannot be read is there as `Opaque`: it matters only if it is needed.
    """
    forms, layers = _Forms(quantization), _layers(headers)
    coded: dict[str, _Form] = {}  # by the name of the codes
    beside: set[str] = set()  # what belongs to codes
    orphans: dict[str, Opaque] = {}  # what should
    for layer, parts in layers.items():
        form = forms.of_layer(layer, parts)
        if form:
            coded[parts[form.stored[0]].name] = form
            for part in form.stored[1:]:
                beside.add(parts[part].name)
        if form is None or len(form.stored) < len(parts):
            orphans |= _orphans(layer, parts, form.stored if form else ("weight",))
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}  # few objects for 46,000 tensors
    tensors: dict[str, SourceTensor] = {}
    for (name, header), blob in zip(headers.items(), blobs.values(), strict=True):
        form = coded.get(name)
        if form:
            layer = name.removesuffix(f".{form.stored[0]}")
            parts, weights = layers[layer], f"{layer}.weight"
            stored = tuple([blobs[parts[part].name] for part in form.stored])
            tensors[weights] = SourceTensor(weights, form.shape, form.encoding, stored)
        elif name not in beside:
            shape = shapes.setdefault(header.shape, header.shape)
            tensors[name] = SourceTensor(name, shape, orphans.get(name) or forms.plain(header), (blob,))
    return tensors


def _layers(headers: Mapping[str, TensorHeader]) -> dict[str, _Parts]:
    """The layers with more than plain weights."""
    layers: dict[str, _Parts] = {}
    for name, header in headers.items():
        if name.endswith(".weight"):
            if header.dtype not in PLAIN_BY_DTYPE:
                layers.setdefault(name[: -len(".weight")], {})["weight"] = header
            continue
        layer, part = layer_and_part(name)
        if part:
            layers.setdefault(layer, {})[part] = header
    for layer, parts in layers.items():
        if "weight" not in parts and (weights := headers.get(f"{layer}.weight")):
            parts["weight"] = weights
    return layers


class _Forms:
    """The forms of a checkpoint's tensors: few objects for many that are alike."""

    def __init__(self, quantization: Mapping[str, object]) -> None:
        self._words = quantization
        self._quantization = Quantization.of(quantization)
        self._known: dict[object, _Form] = {}

    def plain(self, header: TensorHeader) -> Encoding:
        """The form of a tensor that stands for itself."""
        form = PLAIN_BY_DTYPE.get(header.dtype)
        if form is None:
            tool = tool_of(self._words)
            found = f"dtype {header.dtype}{f' by {tool}' if tool else ''}, expected one of {', '.join(READ_DTYPES)}"
            advice = _ROUND if header.dtype == "F64" else convert_the_original(self._words)
            return Opaque(f"tensor {header.name}", found, advice, header.dtype)
        return form

    def of_layer(self, layer: str, parts: _Parts) -> _Form | None:
        """How a layer is stored; None if no form claims it, but its weights may be plain."""
        words = self._quantization.of_layer(layer)
        alike = (id(words), *[(part, tensor.dtype, tensor.shape) for part, tensor in parts.items()])
        form = self._known.get(alike)
        if form is None:
            form = _described(layer, parts, words)
            if form and not isinstance(form.encoding, Opaque):  # its words name the tensor
                self._known[alike] = form
        return form


def _described(layer: str, parts: _Parts, words: Mapping[str, object]) -> _Form | None:
    """The form that claims a layer, `Opaque` if its tensors do not fit together; None if none claims it."""
    claimed = claim_of(parts)
    if claimed is None:
        return None
    claim, form = claimed
    weights = parts[claim.weights]
    beside = tuple([part for part in claim.companions if part in parts])
    stored = (claim.weights, *beside)
    if claim.weights != "weight" and "weight" in parts:
        found = f"is there twice, as it is and as {weights.name}"
        return _Form(Opaque(f"tensor {layer}.weight", found), weights.shape, (*stored, "weight"))
    try:
        encoding = form.describe(weights, [parts[part] for part in beside], words)
    except CheckpointError as error:
        return _Form(Opaque(error.where, error.found, error.advice), weights.shape, stored)
    return _Form(encoding, encoding.logical_shape(weights.shape), stored)


def _orphans(layer: str, parts: _Parts, taken: Collection[str]) -> dict[str, Opaque]:
    """What is wrong with the tensors of a layer that belong to quantized weights, but to none that are there."""
    weights = f"{layer}.weight is {parts['weight'].dtype}" if "weight" in parts else f"there is no {layer}.weight"
    found, advice = f"belongs to quantized weights, but {weights}", "compare with the original checkpoint"
    if "weight" in parts and parts["weight"].dtype in PLAIN_BY_DTYPE:
        advice = "if the weights were dequantized and their scales left behind, leave these out with `drop`"
    names = [tensor.name for part, tensor in parts.items() if part not in taken]
    return {name: Opaque(f"tensor {name}", found, advice) for name in names}
