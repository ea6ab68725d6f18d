"""Every tensor of a file beside the source tensors that it is made of; what is missing, extra or of a wrong shape."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from deepgguf.architectures.architecture import Architecture, Model
from deepgguf.architectures.tensors import Component
from deepgguf.encodings import weight_of
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import printable
from deepgguf.formats.gguf.types import GGUFHeader, TensorInfo
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.verification.report import Difference
from deepgguf.verification.source_names import source_names
from deepgguf.verification.storage_rules import must_be_f32

Shape = tuple[int, ...]
Arrangement = Literal["whole", "k_b", "v_b"]

_EXPERTS = "_exps.weight"


class Counterpart(msgspec.Struct, frozen=True):
    """A tensor of file number `file`, and its sources, one per expert in a stack.

    `arrangement` is "k_b" or "v_b" for the halves of a kv_b that was split per head.
    """

    file: int
    tensor: TensorInfo
    arrangement: Arrangement
    sources: tuple[SourceTensor, ...]


class Counterparts(msgspec.Struct, frozen=True):
    """What can be compared, what cannot, and the source tensors left out: how many for each reason."""

    pairs: tuple[Counterpart, ...]
    differences: tuple[Difference, ...]
    dropped: dict[str, int]


class Source(msgspec.Struct, frozen=True):
    """A checkpoint's catalog: what the config promises, what is there, what is left out."""

    model: Model
    tensors: Mapping[str, SourceTensor]
    promised: Mapping[str, Component]
    reasons: Mapping[str, str]


def read_source(architecture: Architecture, model: Model, tensors: Mapping[str, SourceTensor]) -> Source:
    """The catalog. CheckpointError if a tensor that is needed cannot be read."""
    promised = {t.name: t.role.component for t in architecture.tensors(model)}
    reasons = {}
    for name, tensor in tensors.items():
        weight = weight_of(name)
        reason = None if weight in promised else architecture.drop_reason(model, weight)
        if reason:
            reasons[name] = reason
        elif isinstance(tensor.encoding, Opaque) and (name in promised or weight != name):
            tensor.encoding.refuse()
    return Source(model, tensors, promised, reasons)


def find_counterparts(architecture: str, headers: Sequence[GGUFHeader], source: Source) -> Counterparts:
    """Maps every tensor of the files back to the source."""
    pairs: list[Counterpart] = []
    differences: list[Difference] = []
    made_of: dict[str, set[Arrangement]] = {}
    for number, header in enumerate(headers):
        for tensor in header.tensors:
            found = _counterpart(architecture, number, tensor, source)
            if isinstance(found, Difference):
                differences.append(found)
                continue
            for one in found.sources:
                made_of.setdefault(one.name, set()).add(found.arrangement)
            wrong = _shape_difference(found, source.model) or _type_difference(architecture, tensor)
            if wrong:
                differences.append(wrong)
            else:
                pairs.append(found)
    differences += _missing(architecture, source, made_of)
    differences += _unknown(source)
    dropped: dict[str, int] = {}
    for name, reason in source.reasons.items():
        dropped[reason] = dropped.get(reason, 0) + len(source.tensors[name].blobs)
    return Counterparts(tuple(pairs), tuple(differences), dropped)


def _counterpart(architecture: str, file: int, tensor: TensorInfo, source: Source) -> Counterpart | Difference:
    where = f"tensor {printable(tensor.name)}"
    experts = source.model.language.n_routed_experts
    names = source_names(architecture, tensor.name, experts)
    if not names:
        return Difference(where, f"is extra: {architecture} has no tensor of this name")
    for name in names:
        if name in source.reasons:
            return Difference(
                where, f"is extra: its source {printable(name)} is to be left out ({source.reasons[name]})"
            )
        if name not in source.tensors or name not in source.promised:
            return Difference(where, f"is extra: the source has no tensor {printable(name)}")
    arrangement: Arrangement = "whole"
    if tensor.name.endswith(("attn_k_b.weight", "attn_v_b.weight")):
        arrangement = "k_b" if tensor.name.endswith("attn_k_b.weight") else "v_b"
    sources = tuple(source.tensors[name] for name in names)
    return Counterpart(file, tensor, arrangement, sources)


def _shape_difference(pair: Counterpart, model: Model) -> Difference | None:
    first, c = pair.sources[0], model.language
    shape: Shape = first.shape
    if pair.arrangement == "k_b":
        shape = (c.num_attention_heads, first.shape[1], c.qk_nope_head_dim)
    elif pair.arrangement == "v_b":
        shape = (c.num_attention_heads, c.v_head_dim, first.shape[1])
    elif pair.tensor.name.endswith(_EXPERTS):
        shape = (len(pair.sources), *first.shape)
    elif pair.tensor.name == "v.view_seperator":
        shape = (1, *first.shape)
    odd = next((s for s in pair.sources if s.shape != first.shape), None)
    where = f"tensor {printable(pair.tensor.name)}"
    if odd:
        return Difference(
            where, f"its source {odd.name} has another shape than {first.name}", f"{first.shape}", f"{odd.shape}"
        )
    if pair.tensor.shape != shape:
        return Difference(where, "the shape, row-major", f"{list(shape)}", f"{list(pair.tensor.shape)}")
    return None


def _type_difference(architecture: str, tensor: TensorInfo) -> Difference | None:
    if must_be_f32(architecture, tensor) and tensor.type.name != "F32":
        return Difference(f"tensor {printable(tensor.name)}", "the type", "F32", tensor.type.name)
    return None


def _missing(architecture: str, source: Source, made_of: Mapping[str, set[Arrangement]]) -> Iterator[Difference]:
    """Promised source tensors from which nothing was made; of a split kv_b both halves must be there."""
    for name, component in source.promised.items():
        if not _in_file(architecture, component):
            continue
        found: Iterable[Arrangement] = made_of.get(name, ())
        where = f"source tensor {printable(name)}"
        if name not in source.tensors:
            yield Difference(where, "config.json promises it, but no shard holds it")
        elif not found:
            yield Difference(where, "is missing: no tensor of the file is made of it")
        elif "whole" in found and len({*found}) > 1:
            yield Difference(where, "is in the file twice, whole and split")
        elif len({*found} & {"k_b", "v_b"}) == 1:
            yield Difference(where, f"only its half {next(iter(found))} is in the file")


def _in_file(architecture: str, component: Component) -> bool:
    """llama.cpp has the vision part in a file of its own."""
    if architecture == "clip":
        return component is not Component.LANGUAGE
    return architecture == "deepseekocr" or component is Component.LANGUAGE


def _unknown(source: Source) -> Iterator[Difference]:
    """Source tensors that are neither promised nor left out for a reason."""
    for name in source.tensors:
        if name not in source.promised and name not in source.reasons:
            yield Difference(f"source tensor {printable(name)}", "is unknown: there is no reason to leave it out")
