"""What a plan warns of: nothing here stops a run, everything here could surprise."""

import re
from collections.abc import Iterable, Iterator

from deepgguf.checkpoint.importance import ImportanceMatrix
from deepgguf.planning.schema import PlannedFile
from deepgguf.recipes.patterns import TypePattern

_BLOCK = re.compile(r"blk\.(\d+)\.")
_SHOWN = 8


def pattern_warnings(files: Iterable[PlannedFile], patterns: Iterable[TypePattern]) -> Iterator[str]:
    """Patterns of the user that no tensor's name has, perhaps since it is spelled as in another program."""
    names = [tensor.info.name for file in files for tensor in file.tensors]
    for pattern in patterns:
        if not any(map(pattern.matches, names)):
            yield f"no tensor's name matches {pattern.pattern}, so nothing gets the type {pattern.type.name} by it"


def importance_warnings(files: Iterable[PlannedFile], importance: ImportanceMatrix) -> Iterator[str]:
    """Quantized tensors that the importance matrix does not know, and experts that its text never reached, by layer."""
    quantized = [t for file in files for t in file.tensors if t.info.type is not t.plain_type]
    missing = [t.info.name for t in quantized if t.info.name not in importance.sizes]
    if missing:
        yield f"the importance matrix has no data for {len(missing)} quantized tensors: {_some(missing)}"
    by_layer: dict[int, set[int]] = {}
    for tensor in quantized:
        block = _BLOCK.match(tensor.info.name)
        if block and tensor.importance:
            by_layer.setdefault(int(block[1]), set()).update(tensor.importance.unused)
    for layer, experts in sorted(by_layer.items()):
        if experts:
            numbers = _some([str(expert) for expert in sorted(experts)])
            yield f"layer {layer}: the importance matrix has no data for experts {numbers}; their weights count equally"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
