"""Converts DeepSeek checkpoints to GGUF files for Ollama and llama.cpp, in one pass, and verifies the result.

    plan(source, ...)             what a conversion would write, drop and need; nothing is written
    plan(source, ...).run()       carries it out
    convert(source, output, ...)  both
    run_together(plan_several(source, folder, types=...))  several types, for several targets, of one reading
    quantize(source, output, ...) makes a GGUF file of a GGUF file, in other types
    merge(path, output), split(path, output, ...)  join a split set, or make one
    doctor(path)                  what an engine will stumble over in a GGUF file, and what mends it
    patch(path, output, ...)      other keys for a GGUF file, in place or in a new one; undo_patch takes it back
    inspect(path)                 what a GGUF file says of itself
    verify(path, source)          raises an error unless it is what its source makes
    compare(path, source)         the same, but returns all differences
    plan(source, ...).to_ollama(name)  makes a model of it that `ollama run` starts
    import_to_ollama(files, name)      the same of GGUF files that are there
    check_parts(path)             whether tasks that shared a split set have made all of it
    write_report(path, plan)      an HTML page of a plan, a run, a file; write_comparison of two
    write_card(plan, report)      the model card of the folder that a plan was run into
    sample(kind, folder, ...)     a small checkpoint with real structure and made-up weights

`Choices` and `RunChoices` are what `plan`, `convert` and `Plan.run` take. Every error is a `DeepggufError` whose text
names file, tensor or key.
"""

import sys

from deepgguf.version import __version__

if sys.platform == "win32":  # files are locked, synced, read and replaced by calls that only POSIX has
    raise ImportError(
        "deepgguf does not run on Windows itself: install it in WSL, https://learn.microsoft.com/windows/wsl/install"
    )

TYPE_CHECKING = False  # importing typing takes longer than starting Python, and the command line is not yet ready then

if TYPE_CHECKING:
    from deepgguf.api.conversion import convert, plan, plan_every_type, plan_several
    from deepgguf.api.gguf_files import Patched, doctor, inspect, merge, patch, split, undo_patch
    from deepgguf.api.ollama import import_to_ollama
    from deepgguf.api.planned import Plan, run_together
    from deepgguf.api.proof import check_parts, compare, verify
    from deepgguf.api.quantization import plan_quantize, plan_quantize_several, quantize
    from deepgguf.api.samples import sample
    from deepgguf.choices import (
        Choices,
        ConversionChoices,
        PatchChoices,
        PatchingChoices,
        QuantizationChoices,
        QuantizeChoices,
        RunChoices,
    )
    from deepgguf.encodings.encoding import Counts, Squares
    from deepgguf.errors import (
        ChangedError,
        CheckpointError,
        DeepggufError,
        GGUFError,
        NonFiniteError,
        OutputError,
        UsageError,
        VerificationError,
    )
    from deepgguf.executors.executor import Cluster, Executor
    from deepgguf.executors.ray import Ray
    from deepgguf.executors.threads import Threads
    from deepgguf.files.files import FileFacts, Files
    from deepgguf.formats.gguf.describe import (
        Description,
        FileDescription,
        KeyDescription,
        TensorDescription,
        TypeDescription,
    )
    from deepgguf.ollama.modelfile import Modelfile
    from deepgguf.ollama.request import OllamaReport
    from deepgguf.planning.doctor import Finding
    from deepgguf.planning.schema import Dropped, PlannedFile, PlannedTensor
    from deepgguf.planning.totals import PlanTotals
    from deepgguf.publishing.write import write_card
    from deepgguf.report.write import write_comparison, write_report
    from deepgguf.run.address import S3Address
    from deepgguf.run.result import FileReport, Report, TensorResult
    from deepgguf.samples.make import SampleSummary
    from deepgguf.verification.report import Difference, SourceCheck, Verification, VerifiedFile

__all__ = [
    "ChangedError", "CheckpointError", "Choices", "Cluster", "ConversionChoices", "Counts", "DeepggufError",
    "Description", "Difference", "Dropped", "Executor", "FileDescription", "FileFacts", "FileReport", "Files",
    "Finding", "GGUFError", "KeyDescription", "Modelfile", "NonFiniteError", "OllamaReport", "OutputError",
    "PatchChoices", "Patched", "PatchingChoices", "Plan", "PlanTotals", "PlannedFile", "PlannedTensor",
    "QuantizationChoices", "QuantizeChoices", "Ray", "Report", "RunChoices", "S3Address", "SampleSummary",
    "SourceCheck", "Squares", "TensorDescription", "TensorResult", "Threads", "TypeDescription", "UsageError",
    "Verification", "VerificationError", "VerifiedFile", "__version__", "check_parts", "compare", "convert", "doctor",
    "import_to_ollama", "inspect", "merge", "patch", "plan", "plan_every_type", "plan_quantize",
    "plan_quantize_several", "plan_several", "quantize", "run_together", "sample", "split", "undo_patch", "verify",
    "write_card", "write_comparison", "write_report",
]  # fmt: skip

# Imported when first used: `import deepgguf` costs nothing.
_HOMES = {
    "deepgguf.api.conversion": "convert plan plan_every_type plan_several",
    "deepgguf.api.gguf_files": "Patched doctor inspect merge patch split undo_patch",
    "deepgguf.api.ollama": "import_to_ollama",
    "deepgguf.api.planned": "Plan run_together",
    "deepgguf.api.proof": "check_parts compare verify",
    "deepgguf.api.quantization": "plan_quantize plan_quantize_several quantize",
    "deepgguf.api.samples": "sample",
    "deepgguf.choices": "Choices ConversionChoices PatchChoices PatchingChoices QuantizationChoices QuantizeChoices"
    " RunChoices",
    "deepgguf.errors": "ChangedError CheckpointError DeepggufError GGUFError NonFiniteError OutputError UsageError"
    " VerificationError",
    "deepgguf.formats.gguf.describe": "Description FileDescription KeyDescription TensorDescription TypeDescription",
    "deepgguf.encodings.encoding": "Counts Squares",
    "deepgguf.executors.executor": "Cluster Executor",
    "deepgguf.executors.ray": "Ray",
    "deepgguf.executors.threads": "Threads",
    "deepgguf.files.files": "FileFacts Files",
    "deepgguf.ollama.modelfile": "Modelfile",
    "deepgguf.ollama.request": "OllamaReport",
    "deepgguf.planning.doctor": "Finding",
    "deepgguf.planning.schema": "Dropped PlannedFile PlannedTensor",
    "deepgguf.planning.totals": "PlanTotals",
    "deepgguf.publishing.write": "write_card",
    "deepgguf.report.write": "write_comparison write_report",
    "deepgguf.run.address": "S3Address",
    "deepgguf.run.result": "FileReport Report TensorResult",
    "deepgguf.samples.make": "SampleSummary",
    "deepgguf.verification.report": "Difference SourceCheck Verification VerifiedFile",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """What is public, from its module."""
    import importlib

    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is public, whether it has been imported or not."""
    return sorted(__all__)
