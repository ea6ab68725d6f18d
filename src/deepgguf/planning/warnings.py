"""What a plan warns of: nothing here stops a run, everything here could surprise."""

import re
from collections.abc import Iterable, Iterator

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.importance import ImportanceMatrix
from deepgguf.checkpoint.tied_head import HEAD
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.models.match import Matched
from deepgguf.planning.schema import PlannedFile, PlannedTensor
from deepgguf.recipes.choice import allows_quantization
from deepgguf.recipes.patterns import Chooses
from deepgguf.recipes.tensor import TensorToType

_BLOCK = re.compile(r"blk\.(\d+)\.")
_SHOWN = 8


def head_warnings(checkpoint: Checkpoint, matched: Matched) -> Iterator[str]:
    """A head that is used though config.json ties it to the embedding."""
    if checkpoint.own_head and HEAD not in matched.left_out:
        yield (
            "lm_head.weight differs from the token embedding to which config.json ties it (tie_word_embeddings): it is "
            'used, as transformers 5 does; if the embedding is meant, leave it out with `drop="lm_head"`'
        )


def pattern_warnings(files: Iterable[PlannedFile], patterns: Iterable[Chooses]) -> Iterator[str]:
    """Patterns of the user that no tensor's name has, perhaps since it is spelled as in another program."""
    names = [tensor.info.name for file in files for tensor in file.tensors]
    for pattern in patterns:
        if not any(map(pattern.matches, names)):
            yield f"no tensor's name matches {pattern.pattern}, so nothing gets the type {pattern.type.name} by it"


def like_warnings(files: Iterable[PlannedFile], like: frozenset[str] | None, type: str) -> Iterator[str]:
    """Tensors whose type a published file does not say."""
    tensors = [tensor for file in files if file.kind == "text" for tensor in file.tensors] if like is not None else []
    weights = (t.info for t in tensors if allows_quantization(TensorToType(t.info.name, t.info.shape, t.plain_type)))
    missing = [info.name for info in weights if like is not None and info.name not in like]
    if missing:
        yield f"`like` does not cover {len(missing)} tensors, which get the types of {type}: {_some(missing)}"


def filter_warnings(matrix: ImportanceMatrix) -> Iterator[str]:
    """Parts of names that the importance matrix has nothing for, and a filter that leaves nothing of it."""
    for part in matrix.filter.unmatched:
        yield f"no entry of the importance matrix has {part} in its name; check the spelling"
    if not matrix.entries:
        yield "`include_weights` or `exclude_weights` leave nothing of the importance matrix, so none is used"


def rounding_warnings(files: Iterable[PlannedFile]) -> Iterator[str]:
    """Tensors that their types hold exactly only if their scales are as most are."""
    found: dict[tuple[str, str, str], int] = {}
    for tensor in (t for file in files for t in file.tensors):
        if not holds_exactly(tensor):
            reasons = dict.fromkeys(form.rounds_by for form in tensor.forms if form.rounds_by)
            kind = tensor.dtypes, tensor.info.type.name, "; ".join(reasons)
            found[kind] = found.get(kind, 0) + 1
    for (dtypes, type, reason), count in found.items():
        yield (
            f"{count:,} tensors of {dtypes} become {type}, which rounds weights once that have {reason}: verify with "
            "the source counts them, and the type f32 rounds none"
        )


def holds_exactly(tensor: PlannedTensor) -> bool:
    """Whether the tensor's type holds all weights that its sources can have: an F32 does."""
    return tensor.info.type is GGMLType.F32 or not any(form.rounds_by for form in tensor.forms)


def importance_warnings(files: Iterable[PlannedFile], matrix: ImportanceMatrix, target: str) -> Iterator[str]:
    """Quantized tensors that the importance matrix has nothing for, or only what another tensor has; and experts that
    its text never reached, by layer.
    """
    weighted = [t for file in files for t in file.tensors if _takes_importance(t)]
    missing = [t.info.name for t in weighted if t.importance is None]
    if missing:
        yield (
            f"the importance matrix has no data for {len(missing)} quantized tensors: {_some(missing)}; "
            "their weights count equally"
        )
    yield from _served_by_others(weighted, matrix, target)
    yield from _experts_without_data(weighted)


def _takes_importance(tensor: PlannedTensor) -> bool:
    encoding = tensor.output.encoding
    return isinstance(encoding, Quantized) and encoding.takes_importance and encoding.type is not tensor.plain_type


def _served_by_others(weighted: Iterable[PlannedTensor], matrix: ImportanceMatrix, target: str) -> Iterator[str]:
    """By kinds of tensors, as all layers are alike."""
    others: dict[tuple[str, str], int] = {}
    for tensor in weighted:
        name, source = tensor.info.name, tensor.importance.source if tensor.importance else tensor.info.name
        if not source.startswith(name):
            mean = "the mean of the heads of " if tensor.importance and tensor.importance.averaged else ""
            kinds = _kind(name), mean + _kind(source)
            others[kinds] = others.get(kinds, 0) + 1
    for (kind, source), count in others.items():
        layers = f"{count} layer{'s' if count > 1 else ''}"
        yield (
            f"the importance matrix has no data for {kind}: in {layers} {source} serves, which has the same input; "
            f"a matrix that was made with a file for {target} has them"
        )
    headless = [_kind(t.info.name) for t in weighted if t.importance is None and t.info.name in matrix.sizes]
    if headless:
        yield (
            f"the importance matrix counts the heads of {_some(list(dict.fromkeys(headless)))} as one, though each has "
            "an input of its own, so this is not used; make it anew with today's llama-imatrix"
        )


def _kind(name: str) -> str:
    """A tensor's name without its layer and ".weight"."""
    return _BLOCK.sub("", name).removesuffix(".weight")


def _experts_without_data(weighted: Iterable[PlannedTensor]) -> Iterator[str]:
    by_layer: dict[tuple[int, str], set[int]] = {}
    for tensor in weighted:
        block = _BLOCK.match(tensor.info.name)
        if block and tensor.importance and len(tensor.sources) > 1:
            layer, found = int(block[1]), tensor.importance
            by_layer.setdefault((layer, "their weights count equally"), set()).update(found.unused)
            by_layer.setdefault((layer, "they have the mean of the others"), set()).update(found.averaged)
    for (layer, instead), experts in sorted(by_layer.items()):
        if experts:
            numbers = _some([str(expert) for expert in sorted(experts)])
            yield f"layer {layer}: the importance matrix has no data for experts {numbers}; {instead}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
