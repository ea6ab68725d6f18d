"""The tensors of a checkpoint, each with its form and all its blobs, out of the headers of its shards."""

from collections.abc import Mapping
from typing import NamedTuple

from deepgguf.checkpoint.quantization import Quantization
from deepgguf.encodings import PLAIN_BY_DTYPE, READ_DTYPES, claim_of, layer_and_part
from deepgguf.encodings.encoding import Claim, Encoding
from deepgguf.encodings.foreign import convert_the_original, tool_of
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors import TensorHeader
from deepgguf.tensors.source_tensor import Blob, SourceTensor

_Parts = dict[str, TensorHeader]  # tensors of a layer by what they are to its weights: "weight", "weight_scale" …


class _Weights(NamedTuple):
    """A tensor of the catalog: its name, its form, and the stored tensors that hold it, the codes first."""

    name: str
    encoding: Encoding
    stored: tuple[TensorHeader, ...]


def catalog(
    headers: Mapping[str, TensorHeader], blobs: Mapping[str, Blob], quantization: Mapping[str, object]
) -> dict[str, SourceTensor]:
    """The tensors by name, in the order of `headers`; `blobs` says where the bytes of each lie, in the same order.

    `quantization` is what config.json says of it. Weights that a form stores in several tensors of layer X, whatever
    their names, are one tensor X.weight. What cannot be read is there as `Opaque`: it matters only if it is needed.
    """
    forms, layers = _Forms(quantization), _layers(headers)
    coded: dict[str, _Weights | None] = {}
    for layer, parts in layers.items():
        coded |= forms.weights(layer, parts)
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}  # few objects for 46,000 tensors
    tensors: dict[str, SourceTensor] = {}
    for name, header in headers.items():
        weights = coded[name] if name in coded else _Weights(name, forms.plain(header), (header,))
        if weights:
            shape = weights.encoding.logical_shape(header.shape)
            stored = tuple([blobs[tensor.name] for tensor in weights.stored])
            tensors[weights.name] = SourceTensor(
                weights.name, shapes.setdefault(shape, shape), weights.encoding, stored
            )
    return tensors


def _layers(headers: Mapping[str, TensorHeader]) -> dict[str, _Parts]:
    """The layers with more than plain weights."""
    layers: dict[str, _Parts] = {}
    for name, header in headers.items():
        if header.dtype in PLAIN_BY_DTYPE and name.endswith(".weight"):
            continue
        layer, part = layer_and_part(name)
        if part:
            layers.setdefault(layer, {})[part] = header
    for layer, parts in layers.items():
        weights = headers.get(f"{layer}.weight")
        if weights:
            parts["weight"] = weights
    return layers


class _Forms:
    """The forms of a checkpoint's tensors: few objects for many that are alike."""

    def __init__(self, quantization: Mapping[str, object]) -> None:
        self._words = quantization
        self._quantization = Quantization.of(quantization)
        self._known: dict[object, tuple[Claim, Encoding]] = {}

    def weights(self, layer: str, parts: _Parts) -> dict[str, _Weights | None]:
        """What becomes of a layer's tensors, by their names: None for those that belong to others.

        A plain "weight" that no form claims is not among them.
        """
        claimed = self._claimed(layer, parts)
        if claimed is None:
            return {t.name: _orphan(layer, t, parts) for part, t in parts.items() if part != "weight"}
        claim, encoding = claimed
        stored = tuple([parts[part] for part in (claim.weights, *claim.companions) if part in parts])
        if claim.weights != "weight" and "weight" in parts:
            found = f"is there twice, as it is and as {stored[0].name}"
            encoding, stored = Opaque(f"tensor {layer}.weight", found), (*stored, parts["weight"])
        coded: dict[str, _Weights | None] = {tensor.name: None for tensor in stored}
        coded[stored[0].name] = _Weights(f"{layer}.weight", encoding, stored)
        for tensor in parts.values():
            if tensor.name not in coded:
                coded[tensor.name] = _orphan(layer, tensor, parts)
        return coded

    def plain(self, header: TensorHeader) -> Encoding:
        """The form of a tensor that stands for itself."""
        form = PLAIN_BY_DTYPE.get(header.dtype)
        if form is None:
            tool = tool_of(self._words)
            found = f"dtype {header.dtype}{f' by {tool}' if tool else ''}, expected one of {', '.join(READ_DTYPES)}"
            return Opaque(f"tensor {header.name}", found, convert_the_original(self._words))
        return form

    def _claimed(self, layer: str, parts: _Parts) -> tuple[Claim, Encoding] | None:
        words = self._quantization.of_layer(layer)
        alike = (id(words), *[(part, tensor.dtype, tensor.shape) for part, tensor in parts.items()])
        known = self._known.get(alike)
        if known:
            return known
        claimed = claim_of(parts)
        if claimed is None:
            return None
        claim, form = claimed
        beside = [parts[part] for part in claim.companions if part in parts]
        try:
            known = self._known[alike] = claim, form.describe(parts[claim.weights], beside, words)
        except CheckpointError as error:  # its words name the tensor
            return claim, Opaque(error.where, error.found, error.advice)
        return known


def _orphan(layer: str, tensor: TensorHeader, parts: _Parts) -> _Weights:
    """A tensor that belongs to quantized weights, but there are none that it fits."""
    weights = f"{layer}.weight is {parts['weight'].dtype}" if "weight" in parts else f"there is no {layer}.weight"
    found = f"belongs to quantized weights, but {weights}"
    return _Weights(
        tensor.name, Opaque(f"tensor {tensor.name}", found, "compare with the original checkpoint"), (tensor,)
    )
