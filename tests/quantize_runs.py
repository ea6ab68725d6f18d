"""Runs of llama-quantize as the index.json of a folder of goldens lists them, done by deepgguf.

    python tests/quantize_runs.py FOLDER [--digests FILE]

compares every run that FOLDER/*/index.json lists: type, shape and bytes of every tensor, every key, and every refusal.
Prints a line for each that differs and the counts; 1 if one does that is not explained here. `--digests` writes the
runs with the SHA-256 of what each makes, for tests/test_option_goldens.py.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from deepgguf import convert, plan, sample
from deepgguf.errors import UsageError
from golden import GOLDENS, Golden, GoldenTensor, describe_written, golden_of

CHOICES = {
    "--pure": ("pure", None),
    "--leave-output-tensor": ("leave_output_tensor", None),
    "--include-weights": ("include_weights", list),
    "--exclude-weights": ("exclude_weights", list),
    "--override-kv": ("override_kv", list),
    "--tensor-type": ("tensor_types", list),
    "--tensor-type-file": ("tensor_type_file", str),
    "--output-tensor-type": ("output_tensor_type", str),
    "--token-embedding-type": ("token_embedding_type", str),
}

# What deepgguf does not have: it reads checkpoints, and `--prune-layers` gives a block the data of another upstream.
_NOT_OURS = {
    "--prune-layers": "not offered: llama-quantize gives blocks the data of others",
    "COPY": "not offered: a GGUF is not an input",
}
# `--keep-split` is about a GGUF input's files. The same tensors are made; where they lie is not compared.
_IGNORED = {"--keep-split"}

# llama-quantize leaves options of quantized types unheeded for these; deepgguf refuses them.
_UNQUANTIZED = ("F16", "F32", "BF16")

# The tensors of August's goldens that October's ggml gives other bytes, as it sums IQ1_M's pairs in another order;
# tests/kernels/test_iq1_m_of_october.py shows that these are October's, by checkpoint and tensor.
_OUTPUT = "4b22cf009232402897da1f9cc7058c98dd0c94904b9736701466080a952bddaa"  # alike in all samples, without importance
OCTOBERS = {
    ("v3-bf16", "blk.0.ffn_down.weight"): "443709a1a72b593eefe73ceb31660c8a827d9fe27a64662211878a0d1c84a078",
    ("v2-lite", "blk.0.ffn_gate.weight"): "09d1e46e4e4060fb4a86422a1ac82ff1bdbb9fdd369ba77a74a15af5581ed852",
    ("v2-lite", "blk.18.ffn_gate_shexp.weight"): "76f3ad4fc2374f3d38bb7d6a7b6636cb707f95ca01ae53706b9c44a6a6059a07",
    ("ocr", "blk.1.attn_k.weight"): "1f440d391d414ff7d6cec0beeb0e2eb7b70b6cef8bef0f0209c5ea16bb841518",
    **{(checkpoint, "output.weight"): _OUTPUT for checkpoint in ("v3-bf16", "v2-lite", "ocr")},
}

_OF_THE_MATRIX = ("quantize.imatrix.file", "quantize.imatrix.dataset")  # as given on the command line
_OF_A_SPLIT = ("split.no", "split.count", "split.tensors.count")


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """`status` is llama-quantize's: 0, 1 for a refusal, negative for a signal that ended it. `digest` is of the result."""

    folder: str
    name: str
    input: str
    type: str
    status: int
    imatrix: str | None = None
    options: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    digest: str = ""

    @property
    def checkpoint(self) -> str:
        """The sample that the input was made of, by its golden's name."""
        name = Path(self.input).name.removesuffix(".gguf").removesuffix("-llama.cpp").removesuffix("-ollama")
        return name.partition("-BF16-")[0]

    @property
    def not_ours(self) -> str:
        """Why deepgguf has no such run; empty if it has."""
        return next((why for what, why in _NOT_OURS.items() if what in (*self.options, self.type)), "")

    @property
    def choices(self) -> dict[str, Any]:
        """The run's options as deepgguf's."""
        ollama = "ollama" in self.input or "ollama" in self.folder
        found: dict[str, Any] = {"type": self.type.lower(), "target": "ollama" if ollama else "llama.cpp"}
        words = iter(() if self.type in _UNQUANTIZED else self.options)
        for word in words:
            if word in _IGNORED:
                continue
            name, kind = CHOICES[word]
            if kind is list:
                found[name] = [*found.get(name, []), next(words)]
            else:
                found[name] = True if kind is None else next(words)
        for name, folder in (("tensor_type_file", "options"), ("imatrix", "imatrix")):
            if value := (self.imatrix if name == "imatrix" else found.get(name)):
                found[name] = GOLDENS / folder / value
        return found


def runs_of(folder: Path) -> list[Run]:
    """All runs of the folders in `folder`, without digests."""
    names = {field for field in Run.__struct_fields__ if field not in ("folder", "digest")}
    return [
        msgspec.convert({"folder": index.parent.name, **{k: v for k, v in run.items() if k in names}}, Run)
        for index in sorted(folder.glob("*/index.json"))
        for run in json.loads(index.read_text())
    ]


def digested_runs() -> list[Run]:
    """The runs whose digests the tests know."""
    return msgspec.json.decode((GOLDENS / "quantize-runs.json").read_bytes(), type=list[Run])


def made(run: Run, source: Path, folder: Path) -> Golden:
    """What deepgguf makes of the run's checkpoint."""
    convert(source, folder / "x.gguf", only="text", overwrite=True, jobs=2, **run.choices)
    return without_split(describe_written(folder / "x.gguf"))


def expected(run: Run, folder: Path) -> Golden:
    """What llama-quantize made, a split set's files put together, with October's bytes of IQ1_M."""
    parts = [golden_of(folder / run.folder / name) for name in run.files]
    keys = {key: value for part in parts for key, value in part.keys.items()}
    tensors = [of_october(run.checkpoint, tensor) for part in parts for tensor in part.tensors]
    return without_split(Golden(keys, tensors))


def of_october(checkpoint: str, tensor: GoldenTensor) -> GoldenTensor:
    """The tensor of a golden with the bytes that October's ggml gives it."""
    found = OCTOBERS.get((checkpoint, tensor.name)) if tensor.type == "IQ1_M" else None
    return tensor._replace(sha256=found) if found else tensor


def without_split(golden: Golden) -> Golden:
    """Without what says how a file is split, and what the matrix's file was called."""
    left_out = (*_OF_THE_MATRIX, *_OF_A_SPLIT)
    return Golden({key: value for key, value in golden.keys.items() if key not in left_out}, golden.tensors)


def digest(golden: Golden) -> str:
    """SHA-256 of all keys, and of every tensor's type, shape and bytes."""
    text = json.dumps([golden.keys, golden.by_name()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(one: Golden, other: Golden) -> list[str]:
    """The tensors and keys that are not the same in both."""
    ours, theirs = one.by_name(), other.by_name()
    return [
        *(f"{name}: {ours.get(name)} instead of {theirs.get(name)}"
          for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)),
        *(f"{key}: {one.keys.get(key)} instead of {other.keys.get(key)}"
          for key in sorted(one.keys.keys() | other.keys.keys()) if one.keys.get(key) != other.keys.get(key)),
    ]  # fmt: skip


def main() -> int:
    from golden_samples import SAMPLES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--digests", type=Path)
    options = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    digested = []
    with tempfile.TemporaryDirectory() as temporary:
        sources: dict[str, Path] = {}
        for run in runs_of(options.folder):
            if run.checkpoint not in sources:
                kind, choices = SAMPLES[run.checkpoint]
                sources[run.checkpoint] = sample(kind, Path(temporary) / run.checkpoint, **choices).folder
            verdict, found = compare(run, sources[run.checkpoint], options.folder, Path(temporary))
            counts[run.folder, verdict] += 1
            if found:
                print(f"{run.folder}/{run.name}: {verdict}", *found, sep="\n    ", flush=True)
            if not run.not_ours:
                result = digest(expected(run, options.folder)) if run.status == 0 else ""
                digested.append(msgspec.structs.replace(run, digest=result, files=()))
    for (folder, verdict), count in sorted(counts.items()):
        print(f"{folder:17} {count:4} {verdict}")
    if options.digests:
        options.digests.write_bytes(lines(digested))
    return int(any("differ" in verdict for _, verdict in counts))


def lines(runs: Iterable[Run]) -> bytes:
    """A JSON list with a run to a line."""
    return b"[\n" + b",\n".join(msgspec.json.encode(run) for run in runs) + b"\n]\n"


def compare(run: Run, source: Path, folder: Path, temporary: Path) -> tuple[str, list[str]]:
    """What came of the run, and what there is to see of it."""
    if run.not_ours:
        return run.not_ours, []
    if run.status == 0:
        try:
            found = differences(made(run, source, temporary), expected(run, folder))
        except UsageError as error:
            return "differs: refused", [str(error)]
        return ("differs" if found else "equal"), found
    try:
        plan(source, only="text", **run.choices)
    except UsageError:
        return "refused by both", []
    return "differs: llama-quantize refuses", [f"status {run.status}"]


if __name__ == "__main__":
    sys.exit(main())
