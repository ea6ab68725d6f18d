"""A budget of bytes to a recipe: which tensors may change, what their types cost and lose, which are taken."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.encodings import PLAIN, WRITTEN, encoding_of
from deepgguf.encodings.quantized import Quantized
from deepgguf.errors import UsageError
from deepgguf.executors.executor import Executor
from deepgguf.formats.gguf.encode import padded
from deepgguf.formats.gguf.types import GGMLType, row_bytes
from deepgguf.models.match import Model
from deepgguf.planning.build import model_of, plan_model
from deepgguf.planning.options import Options
from deepgguf.planning.schema import Plan, PlannedTensor
from deepgguf.recipes.budget import Candidate, Choice, bytes_of, choose_within, error_of, smallest, squares_of
from deepgguf.recipes.fallback import fits
from deepgguf.recipes.patterns import first_match
from deepgguf.recipes.recipe import RECIPES
from deepgguf.recipes.recipe_file import Layers, RecipeEntry, RecipeFile, component_of, layers_of
from deepgguf.run.sample_errors import ErrorSampler, Sampling

# All of its types read the importance matrix, whatever rows they have: so the plan says what there is of it.
_MEASURED_BY = "q3_k_s"
# Its Q2_K needs a matrix for every tensor, where others' does not.
_NO_BASE = "q2_k_s"
_QUANTIZED = WRITTEN - PLAIN


class Mixture(NamedTuple):
    """A recipe of llama-quantize's: the size of its files in bytes, the sums of its tensors' errors and squares."""

    size: int
    error: float
    squares: float


class Fitted(msgspec.Struct, frozen=True):
    """What came of a budget: the options that make it, the recipe that says the same, the errors (`recipes.budget`).

    `mixtures` are what could be made instead, by name.
    """

    options: Options
    recipe: RecipeFile
    error: float
    squares: float
    mixtures: Mapping[str, Mixture]


def fit(checkpoint: Checkpoint, options: Options, budget: int, executor: Executor) -> Fitted:
    """Types for every tensor that may be quantized, so that all files have at most `budget` bytes.

    `tensor_types` of the options stay as they are. UsageError if not even the smallest types fit.
    """
    model = model_of(checkpoint, options)
    candidates = _candidates(plan_model(model, checkpoint, _of(options, _MEASURED_BY, pure=True)), options, executor)
    plans = dict(_mixtures(model, checkpoint, options))
    choices = {name: choice for name, plan in plans.items() if (choice := _choice(plan, candidates))}
    mixtures = {
        name: Mixture(plans[name].size, error_of(choice), squares_of(choice)) for name, choice in choices.items()
    }
    base = _base(plans, budget)
    fixed = plans[base].size - sum(padded(t.info.nbytes) for t in _tensors(plans[base]) if t.info.name in candidates)
    room = budget - fixed
    while True:
        if bytes_of(smallest(candidates)) > room:
            found = f"{budget:,} bytes are too few: the smallest types take {fixed + bytes_of(smallest(candidates)):,}"
            raise UsageError("`budget`", found, _ways_out(options))
        choice = choose_within(candidates, room, list(choices.values()))
        entries = _entries(plans[base], choice)
        chosen = msgspec.structs.replace(options, type=base, tensor_types=(*options.tensor_types, *entries))
        excess = plan_model(model, checkpoint, chosen).size - budget
        if excess <= 0:
            recipe = RecipeFile(base, entries, _description(budget, error_of(choice), mixtures))
            return Fitted(chosen, recipe, error_of(choice), squares_of(choice), mixtures)
        room -= excess  # every file of a split set has a header


def _base(plans: Mapping[str, Plan], budget: int) -> str:
    """The mixture that the file is called by: the largest that fits, else the smallest."""
    sizes = {name: plan.size for name, plan in plans.items() if name != _NO_BASE}
    fitting = [name for name, size in sizes.items() if size <= budget]
    return max(fitting, key=sizes.__getitem__) if fitting else min(sizes, key=sizes.__getitem__)


def _of(options: Options, type: str, *, pure: bool = False) -> Options:
    """The options for one file of a mixture."""
    whole = {"split_max_size": None, "split_max_tensors": None}
    types = {} if not pure else {"tensor_types": ()}
    return msgspec.structs.replace(options, type=type, pure=pure, **whole, **types)


def _tensors(plan: Plan) -> Iterator[PlannedTensor]:
    return (tensor for file in plan.files for tensor in file.tensors)


def _mixtures(model: Model, checkpoint: Checkpoint, options: Options) -> Iterator[tuple[str, Plan]]:
    """The plans of all mixtures that can be made."""
    for name in RECIPES:
        try:
            yield name, plan_model(model, checkpoint, _of(options, name))
        except UsageError:  # it needs an importance matrix
            continue


def _candidates(measured: Plan, options: Options, executor: Executor) -> dict[str, list[Candidate]]:
    """The types that each tensor may get, with their measured errors, in the plan's order."""
    samplings = {
        tensor.info.name: Sampling(tensor, _types(tensor))
        for tensor in _tensors(measured)
        if tensor.info.type in _QUANTIZED and first_match(options.tensor_types, tensor.info.name) is None
    }
    with ExitStack() as stack:
        stack.enter_context(measured.source)
        if measured.importance:
            stack.enter_context(measured.importance.files)
        found = {one.name: one for one in executor.map(ErrorSampler(measured).measure, samplings.values())}
    return {
        name: [
            Candidate(type, _nbytes(sampling.tensor, type), error, error * found[name].energy)
            for type, error in zip(sampling.types, found[name].errors, strict=True)
            if error != float("inf")
        ]
        for name, sampling in samplings.items()
    }


def _types(tensor: PlannedTensor) -> tuple[GGMLType, ...]:
    """Every quantized type that fits the tensor's rows and needs no importance that it lacks; and its plain type."""
    found = [tensor.plain_type]
    for type in sorted(WRITTEN):
        encoding = encoding_of(type)
        if isinstance(encoding, Quantized) and fits(type, tensor.info.shape[-1]):
            found += [type] if tensor.importance or not encoding.needs_importance else []
    return tuple(dict.fromkeys(found))


def _nbytes(tensor: PlannedTensor, type: GGMLType) -> int:
    row = tensor.info.shape[-1]
    return padded(tensor.weights // row * row_bytes(type, row))


def _choice(plan: Plan, candidates: Mapping[str, list[Candidate]]) -> Choice | None:
    """What a mixture's plan gives the tensors; None if one of its types was not measured."""
    found: dict[str, Candidate] = {}
    types = {tensor.info.name: tensor.info.type for tensor in _tensors(plan)}
    for name, ones in candidates.items():
        one = next((candidate for candidate in ones if candidate.type is types[name]), None)
        if one is None:
            return None
        found[name] = one
    return found


def _entries(plan: Plan, choice: Choice) -> tuple[RecipeEntry, ...]:
    """The types of all tensors of the plan that are quantized or were chosen, as few entries as that takes.

    Each says what its tensors lose on the average.
    """
    layers: dict[tuple[GGMLType, str], set[int]] = {}
    for tensor in _tensors(plan):
        name = tensor.info.name
        if name in choice or tensor.info.type in _QUANTIZED:
            component, layer = component_of(name)
            type = choice[name].type if name in choice else tensor.info.type
            layers.setdefault((type, component), set()).add(layer)
    components: dict[tuple[GGMLType, Layers], list[str]] = {}
    for (type, component), numbers in layers.items():
        components.setdefault((type, layers_of(number for number in numbers if number >= 0)), []).append(component)
    entries = [RecipeEntry(tuple(names), at, type) for (type, at), names in components.items()]
    return tuple(msgspec.structs.replace(entry, comment=_comment(entry, choice)) for entry in entries)


def _comment(entry: RecipeEntry, choice: Choice) -> str:
    errors = [candidate.error for name, candidate in choice.items() if entry.matches(name)]
    return f"noise to signal {sum(errors) / len(errors):.2g}" if errors else "as it was asked for"


def _description(budget: int, error: float, mixtures: Mapping[str, Mixture]) -> str:
    fitting = {name: one for name, one in mixtures.items() if one.size <= budget}
    said = f"made for {budget:,} bytes: error {error:.4g} over all tensors"
    if not fitting:
        return f"{said}; no mixture is as small"
    best = min(fitting, key=lambda name: fitting[name].error)
    return f"{said}, {best} {fitting[best].error:.4g} with {fitting[best].size:,} bytes"


def _ways_out(options: Options) -> str:
    return "allow more" if options.importance else "allow more, or give an `imatrix`: some small types need one"
