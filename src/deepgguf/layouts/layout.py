"""The declaration of a layout: role to output name, type, rows; keys; files."""

import enum
import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from deepgguf.architectures.architecture import Model
from deepgguf.architectures.tensors import ExpectedTensor, Role
from deepgguf.checkpoint.model_card import ModelCard
from deepgguf.checkpoint.tokenizer import Tokenizer
from deepgguf.formats.gguf.types import GGMLType, Value
from deepgguf.recipes.choice import NO_EXCEPTIONS, Exceptions
from deepgguf.tensors.view import View, keep

_BLOCK = re.compile(r"blk\.(\d+)\.")


class FileKind(enum.StrEnum):
    """Which file of a file set a tensor goes to."""

    TEXT = "text"
    MMPROJ = "mmproj"


class Output(msgspec.Struct, frozen=True, gc=False):
    """An output tensor: the roles stacked in it, the rows taken of each, its shape (row-major).

    `storage` says which unquantized type it gets: a key of the layout's `plain_types` (see layouts.storage).
    """

    name: str
    roles: tuple[Role, ...]
    rows: View
    shape: tuple[int, ...]
    storage: str
    file: FileKind = FileKind.TEXT


class KeyFacts(msgspec.Struct, frozen=True):
    """All that keys are made of: the model, its tokenizer and card, its names, and what the plan has found.

    `name`: of the checkpoint's folder, `model_id`: in its config.
    `fp8_tensors`: the output names that came from FP8. `parameters`: (total, shared, expert, number of experts), for
    size labels. `processor`: the (pre)processor's config.
    """

    model: Model
    tokenizer: Tokenizer
    card: ModelCard
    name: str
    model_id: str | None
    fp8_tensors: tuple[str, ...]
    parameters: tuple[int, int, int, int]
    processor: Mapping[str, object]


class Layout(msgspec.Struct, frozen=True):
    """One target's file set for an architecture.

    `sources`: the architectures, as Hugging Face names them; `architecture`: its name in the file.
    `outputs(model, tensors)`: every output tensor in the file's order. `keys[kind](facts)`: a file's keys, all but
    general.file_type. `plain_types[storage][source dtype]`: the type without a choice;
    `chosen_types[storage][type]`: what a choice of type becomes. `file_types[type]`: general.file_type of an
    unquantized file with most weights of that type. `exceptions`: what the target does otherwise than llama-quantize.
    `limits(model)`: sentences about what the target's engine cannot do. `run(files)`: the command that runs the result.
    """

    target: str
    sources: tuple[str, ...]
    architecture: str
    outputs: Callable[[Model, Iterable[ExpectedTensor]], list[Output]]
    keys: Mapping[FileKind, Callable[[KeyFacts], dict[str, Value]]]
    plain_types: Mapping[str, Mapping[str, GGMLType]]
    chosen_types: Mapping[str, Mapping[GGMLType, GGMLType]]
    file_types: Mapping[GGMLType, int]
    run: Callable[[tuple[str, ...]], str]
    exceptions: Exceptions = NO_EXCEPTIONS
    limits: Callable[[Model], tuple[str, ...]] = lambda model: ()


def stack_experts(
    tensors: Iterable[ExpectedTensor],
    name: Callable[[Role], str],
    storage: Callable[[str, ExpectedTensor], str],
    file: Callable[[Role], FileKind] = lambda role: FileKind.TEXT,
) -> list[Output]:
    """One output per tensor, the experts of a block stacked in numeric order along a new first dimension."""
    outputs: list[Output] = []
    stacks: dict[str, list[ExpectedTensor]] = {}
    for tensor in tensors:
        output = name(tensor.role)
        if tensor.role.expert is not None:
            stacks.setdefault(output, []).append(tensor)
            continue
        outputs.append(
            Output(output, (tensor.role,), keep(tensor.shape), tensor.shape, storage(output, tensor), file(tensor.role))
        )
    for output, experts in stacks.items():
        experts.sort(key=lambda t: t.role.expert or 0)
        first = experts[0]
        shape = (len(experts), *first.shape)
        outputs.append(
            Output(
                output,
                tuple(t.role for t in experts),
                keep(first.shape),
                shape,
                storage(output, first),
                file(first.role),
            )
        )
    return outputs


def in_file_order(outputs: Iterable[Output]) -> list[Output]:
    """By block number, then what belongs to no block; by name, bytewise (Ollama: fs/ggml/gguf.go, WriteGGUF)."""

    def key(output: Output) -> tuple[float, bytes]:
        block = _BLOCK.match(output.name)
        return (int(block[1]) if block else float("inf"), output.name.encode())

    return sorted(outputs, key=key)
