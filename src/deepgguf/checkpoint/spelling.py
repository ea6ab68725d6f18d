"""One model under many names and cuts: the tensors of a checkpoint as its model's own code has them."""

from collections.abc import Iterable, Mapping

import msgspec

from deepgguf.checkpoint.catalog import catalog
from deepgguf.checkpoint.cuts import Cut, Seen, cut_stacks
from deepgguf.checkpoint.renamings import renamed
from deepgguf.encodings.opaque import Opaque
from deepgguf.encodings.part import Part
from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors import TensorHeader
from deepgguf.tensors.source_tensor import Blob, SourceTensor


def spelled_tensors(
    headers: Mapping[str, TensorHeader],
    blobs: Mapping[str, Blob],
    quantization: Mapping[str, object],
    hidden_size: object = None,
) -> dict[str, SourceTensor]:
    """The catalog of these tensors, as `catalog` makes it, renamed (`renamings`) and cut into experts (`cuts`).

    `hidden_size` is that of config.json, if it has one. CheckpointError if two tensors would have one name.
    """
    names = renamed(headers)
    if names:
        headers = {new: msgspec.structs.replace(headers[old], name=new) for old, new in names.items()}
        blobs = {new: blobs[old] for old, new in names.items()}
    in_files = {new: old for old, new in names.items() if new != old}
    cuts = cut_stacks(headers, blobs, hidden_size)
    if cuts:
        members = {cut.member for cut in cuts}
        headers = _with_cuts({name: header for name, header in headers.items() if name not in members}, cuts)
        blobs = {**blobs, **{cut.header.name: cut.blob for cut in cuts}}
        blobs = {name: blobs[name] for name in headers}
    tensors = catalog(headers, blobs, quantization)
    for name, old in in_files.items():
        if name in tensors:
            tensors[name] = msgspec.structs.replace(tensors[name], spelled=old)
    parts: dict[Part, Part] = {}  # few objects for 46,000 tensors
    for cut in cuts:
        if cut.header.name in tensors:
            tensor = msgspec.structs.replace(tensors[cut.header.name], spelled=in_files.get(cut.member, cut.member))
            tensors[tensor.name] = _part(tensor, cut.seen, parts) if cut.seen else tensor
    return tensors


def _with_cuts(others: dict[str, TensorHeader], cuts: Iterable[Cut]) -> dict[str, TensorHeader]:
    stacks: dict[str, str] = {}
    for cut in cuts:
        name = cut.header.name
        if name in others:
            found = f"{stacks.get(name, name)} is there too, and both hold the expert's tensor {name}"
            raise CheckpointError(f"tensor {cut.member}", found, "keep the shards of one model")
        others[name], stacks[name] = cut.header, cut.member
    return others


def _part(tensor: SourceTensor, seen: Seen, parts: dict[Part, Part]) -> SourceTensor:
    """The tensor of one expert as it is seen in what was cut out for it; what cannot be read stays so."""
    if isinstance(tensor.encoding, Opaque):
        return tensor
    part = Part(tensor.encoding, seen.first, seen.turned)
    return msgspec.structs.replace(tensor, shape=seen.shape, encoding=parts.setdefault(part, part))
