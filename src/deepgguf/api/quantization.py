"""GGUF files to GGUF files of other types, by the plans of `planned`."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from deepgguf.api.output import file_name, folder_of_several, output_folder
from deepgguf.api.planned import Plan, one_of_several, placed
from deepgguf.api.settings import apart, run_settings
from deepgguf.api.source import opened_gguf
from deepgguf.choices import (
    CHOICES_OF_QUANTIZE,
    Layout,
    QuantizationChoices,
    QuantizeChoices,
    StrPath,
    checked,
    complete,
)
from deepgguf.errors import UsageError
from deepgguf.executors.executor import Executor, Progress
from deepgguf.planning.parse_options import parse_options
from deepgguf.planning.quantize_gguf import plan_gguf
from deepgguf.planning.several import SharedArrays, first_choice, listed, of_types, refuse_one_output_only
from deepgguf.run.result import Report


@checked
def plan_quantize(source: StrPath, output: StrPath | None = None, **choices: Unpack[QuantizeChoices]) -> Plan:
    """What quantizing the GGUF file `source`, or the split set that it belongs to, would do; nothing is written.

    `output` is as for `plan`. The types are those of llama-quantize, and so are the bytes. The choices are those of
    `deepgguf.choices.CHOICES_OF_QUANTIZE`:

        deepgguf.plan_quantize("DeepSeek-V3-BF16.gguf", type="q4_k_m").run(jobs=4)

    Without `target` the file is for the engine whose layout the source has. Raises UsageError for choices that make no
    sense, for another architecture than deepgguf knows, and for weights that are quantized already unless
    `allow_requantize`; GGUFError for a source that is no sound GGUF, OutputError if something cannot be read.
    """
    chosen = complete(choices, QuantizeChoices)
    _refuse_for_gguf(choices)
    options = parse_options(chosen, file_name(output))
    with opened_gguf(source) as found:
        made = plan_gguf(found, options, choices.get("target"))
    return placed(made, output_folder(output), chosen["part"])


@checked
def plan_quantize_several(
    source: StrPath,
    output: StrPath | None = None,
    *,
    types: str | Sequence[str],
    layout: Layout = "flat",
    **choices: Unpack[QuantizeChoices],
) -> tuple[Plan, ...]:
    """The plans of quantizing the GGUF file `source` to several types; see `plan_quantize`, and `plan_several`."""
    kinds = listed(types)
    chosen = complete({**choices, **first_choice("type", kinds, choices)}, QuantizeChoices)
    refuse_one_output_only(kinds, choices)
    _refuse_for_gguf(choices)
    base, options = folder_of_several(output), parse_options(chosen)
    with opened_gguf(source) as found:
        arrays, engine = SharedArrays(), choices.get("target")
        made = [arrays.shared(plan_gguf(found, each, engine)) for each in of_types(options, kinds)]
    return tuple(one_of_several(each, base, base, chosen["part"], layout) for each in made)


def _refuse_for_gguf(choices: Mapping[str, Any]) -> None:
    for name in choices:
        if name not in CHOICES_OF_QUANTIZE:
            raise UsageError(f"`{name}`", "has no meaning for a GGUF file as the source", "leave it out")


@checked
def quantize(
    source: StrPath,
    output: StrPath | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **choices: Unpack[QuantizationChoices],
) -> Report:
    """Quantizes the GGUF file `source` to `output`: plans it as `plan_quantize`, and carries the plan out.

    `executor`, `progress`, the report and the errors are those of `Plan.run`.
    """
    what, how = apart(choices)
    run_settings(output_folder(output), **how)  # what makes no sense is said before the work
    return plan_quantize(source, output, **what).run(executor=executor, progress=progress, **how)
