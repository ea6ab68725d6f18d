"""What a plan will need: memory of the process, and room on the disk."""

from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.planning.ahead import windows_ahead
from deepgguf.planning.numbering import Numbering, Place
from deepgguf.planning.pieces import runs
from deepgguf.planning.schema import Plan
from deepgguf.planning.scratch import scratch
from deepgguf.planning.windows import window_bytes

# Resident bytes of the interpreter with NumPy and what is imported for a conversion, measured on CPython 3.11.
_PROCESS = 49 << 20
# Bytes per source tensor (catalog, plan), per text and per number in a key's array (a token with its share of
# tokenizer.json and of the header).
_PER_SOURCE = 2300
_PER_TEXT = 250
_PER_NUMBER = 45


def memory_needed(plan: Plan, jobs: int) -> int:
    """Peak resident memory of `convert` with `jobs` threads, in bytes: it depends on jobs, hardly on the model.

    A source that is read ahead has more threads, one for each window that may be on its way.
    """
    threads = jobs + windows_ahead(plan)
    sources = sum(len(t.sources) for file in plan.files for t in file.tensors)
    arrays = sum(_array_bytes(value) for file in plan.files for value in file.keys.values())
    return _PROCESS + plan.source.held + threads * worker_bytes(plan) + sources * _PER_SOURCE + arrays


def worker_bytes(plan: Plan) -> int:
    """Bytes of the buffers that one worker fills: a window where it is read at once, and those of the largest piece."""
    largest = 0
    for file in plan.files:
        numbering = Numbering(file, plan.piece_weights)
        for number, tensor in enumerate(file.tensors):
            piece = numbering.piece(Place(number, 0))
            for form in tensor.forms:
                rows = form.ranges(tensor.view.cols, *runs(tensor.view, piece)[0])
                nbytes = sum(span.nbytes for span in rows) + scratch(tensor.output, form, piece).nbytes
                largest = max(largest, nbytes)
    return largest + (window_bytes(plan) if plan.source.whole_windows else 0)


def _array_bytes(value: Value) -> int:
    length = len(value.value) if isinstance(value.value, list | tuple) else 0
    return length * (_PER_TEXT if value.item_type is ValueType.STRING else _PER_NUMBER)
