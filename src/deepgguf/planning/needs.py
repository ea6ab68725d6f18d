"""What a plan will need: memory of the process, and room on the disk."""

from deepgguf.encodings.plain import Plain
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.planning.ahead import windows_ahead
from deepgguf.planning.joint import Planned
from deepgguf.planning.numbering import Numbering, Place
from deepgguf.planning.pieces import runs
from deepgguf.planning.scratch import scratch
from deepgguf.planning.windows import window_buffer

# Resident bytes of the interpreter with NumPy and what is imported for a conversion, measured on CPython 3.11.
_PROCESS = 49 << 20
# Bytes per source tensor (catalog, plan), per text and per number in a key's array (a token with its share of
# tokenizer.json and of the header).
_PER_SOURCE = 2300
_PER_TEXT = 250
_PER_NUMBER = 45


def memory_needed(plan: Planned, jobs: int) -> int:
    """Peak resident memory of `convert` with `jobs` threads, in bytes: it depends on jobs, hardly on the model.

    A source that is read ahead has more threads, one for each window that may be on its way.
    """
    threads = jobs + windows_ahead(plan)
    sources = {id(source) for file in plan.files for tensor in file.tensors for source in tensor.sources}
    arrays = {id(value.value): _array_bytes(value) for file in plan.files for value in file.keys.values()}
    plans = len(sources) * _PER_SOURCE + sum(arrays.values())
    return _PROCESS + plan.source.held + threads * worker_bytes(plan) + plans


def memory_of_a_worker(plan: Planned, threads: int) -> int:
    """Peak resident memory of a process that carries out tasks of `plan` by `threads` threads, in bytes."""
    return _PROCESS + plan.source.held + threads * worker_bytes(plan)


def worker_bytes(plan: Planned) -> int:
    """Bytes of the buffers that one worker fills: a window where it is read at once, and those of the largest piece."""
    largest: dict[str, int] = {}
    for file in plan.files:
        numbering = Numbering(file, plan.piece_weights)
        for number, tensor in enumerate(file.tensors):
            piece = numbering.piece(Place(number, 0))
            for form in tensor.forms:
                rows = form.ranges(tensor.view.cols, *runs(tensor.view, piece)[0])
                sizes = scratch(tensor.output, form, piece)._asdict() | {"rows": sum(span.nbytes for span in rows)}
                if isinstance(tensor.output.encoding, Plain):
                    sizes[tensor.info.type.name] = sizes.pop("out")
                for buffer, nbytes in sizes.items():
                    largest[buffer] = max(nbytes, largest.get(buffer, 0))
    return sum(largest.values()) + window_buffer(plan)


def _array_bytes(value: Value) -> int:
    length = len(value.value) if isinstance(value.value, list | tuple) else 0
    return length * (_PER_TEXT if value.item_type is ValueType.STRING else _PER_NUMBER)
