"""Plans and reports as a script wants them: a tensor's sources are counted, long arrays shown as their length."""

from deepgguf.formats.gguf.types import Value
from deepgguf.ollama.request import OllamaReport
from deepgguf.planning.machines import smallest_machine
from deepgguf.planning.schema import Plan, PlannedFile, PlannedTensor
from deepgguf.run.result import Report, TensorResult

_LONGEST_ARRAY = 16


def plan_view(plan: Plan, memory: int, jobs: int, run: str | None) -> dict[str, object]:
    """Files with their keys and tensors, what is dropped and needed, warnings; `run` is the command."""
    return _head(plan, run) | {
        "memory": memory,
        "jobs": jobs,
        "files": [_file(file) for file in plan.files],
        "sources": [{"name": source.name, "size": source.size} for source in plan.sources],
    }


def report_view(plan: Plan, report: Report, run: str | None) -> dict[str, object]:
    """Files with the digests of their tensors, bytes, seconds, counts; the quantization errors if measured."""
    files = [
        {
            "path": str(file.path),
            "size": file.size,
            **({"sha256": file.sha256} if file.sha256 else {}),
            **({"found": True} if file.found else {}),
            **({"nodes": file.nodes} if file.nodes else {}),
            "tensors": [{"name": t.name, "xxh3_128": t.digest, **t.counts._asdict()} for t in file.tensors],
        }
        for file in report.files
    ]
    recipe = {"recipe_file": str(report.recipe)} if report.recipe else {}
    work = {"seconds": report.seconds, "written": report.written, "resumed": report.resumed}
    errors = [_error(tensor) for file in report.files for tensor in file.tensors if tensor.squares]
    largest = {type: _error(tensor) for type, tensor in report.largest_errors.items()}
    measured: dict[str, object] = {"quantization_error": errors, "largest_error": largest} if errors else {}
    traffic: dict[str, object] = {"traffic": report.traffic} if report.traffic else {}
    cluster = {"nodes": report.nodes, "again": report.again, "came_back": report.came_back} if report.nodes else {}
    return _head(plan, run) | recipe | work | traffic | cluster | report.counts._asdict() | {"files": files} | measured


def ollama_view(report: OllamaReport) -> dict[str, object]:
    """The model in Ollama: its name, the way that was taken, the SHA-256 of its files as they were given, a command."""
    return {
        "name": report.name,
        "way": report.way,
        "where": report.where,
        "sha256": report.sha256,
        "run": report.command,
    }


def _error(tensor: TensorResult) -> dict[str, object]:
    return {"name": tensor.name, "type": tensor.type, "relative_rms": tensor.relative_rms}


def _head(plan: Plan, run: str | None) -> dict[str, object]:
    return {
        "schema": plan.schema,
        "source": plan.source.place,
        "name": plan.name,
        "target": plan.target,
        "architecture": plan.architecture,
        "type": plan.type,
        **({"recipe": plan.recipe} if plan.recipe else {}),
        "size": plan.size,
        "machine": smallest_machine(plan.size),
        "dropped": plan.dropped,
        "scales_paired": plan.scales_paired,
        "warnings": plan.warnings,
        "run": run,
    }


def _file(file: PlannedFile) -> dict[str, object]:
    return {
        "name": file.name,
        "kind": file.kind,
        "size": file.size,
        "data_offset": file.data_offset,
        "keys": {name: _value(value) for name, value in file.keys.items()},
        "tensors": [_tensor(tensor) for tensor in file.tensors],
    }


def _value(value: Value) -> object:
    items = value.value
    return {"length": len(items)} if isinstance(items, list) and len(items) > _LONGEST_ARRAY else items


def _tensor(tensor: PlannedTensor) -> dict[str, object]:
    info = tensor.info
    return {
        "name": info.name,
        "type": info.type.name,
        "shape": info.shape,
        "offset": info.offset,
        "nbytes": info.nbytes,
        "from": tensor.dtypes,
        "sources": len(tensor.sources),
        **({"note": tensor.note} if tensor.note else {}),
    }
