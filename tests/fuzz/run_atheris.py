"""Coverage-guided fuzzing of one parser: `python run_atheris.py --parser gguf --runs 1000000`.

Needs atheris beside deepgguf's own dependencies (`pip install atheris`); the tests do not. Asserts for every input that
nothing but a DeepggufError comes out, within a second of processor time and 256 MB of the whole process. Prints the
number of inputs, how many were taken and refused, the slowest, the memory, and the lines of the parser's functions that
the inputs of the corpus reach.
"""

import argparse
import dis
import inspect
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mutations import SPECIAL_TEXTS, mutate_gguf, mutate_json, mutate_safetensors

SOURCE = Path(__file__).parents[2] / "src"
sys.path.insert(0, str(SOURCE))

MEMORY_MB = 256
SECONDS = 1.0
LONGEST = 16384  # bytes of an input
MODULES = {
    "safetensors": ["formats.safetensors", "formats.safetensors_entries", "formats.json_text"],
    "index": ["checkpoint.shards", "formats.json_text"],
    "config": ["models.config_schema", "models.language_model", "models.deepseek_ocr"],
    "tokenizer": ["checkpoint.tokenizer", "formats.json_text"],
    "gguf": ["formats.gguf.decode"],
}
# Words that a parser takes for something: without them mutations rarely come past the first check.
KNOWN_WORDS = {
    "safetensors": ["__metadata__", "BF16", "F8_E4M3", "F4", "F6_E2M3"],
    "index": ["a", "b", "U8", "F4", "model-00003-of-00002.safetensors", "model-00002-of-00003.safetensors"],
    "config": ["yarn", "fp8", "sigmoid", "softmax", "greedy", "noaux_tc", "group_limited_greedy"],
    "tokenizer": ["BPE", "Split", "<s>", "</s>", "a", "b", "ab", "default"],
    "gguf": [],
}
# Between the files of a parser that reads several.
BORDER = b"\n---\n"


def mutate_texts(data: bytes, chance: random.Random, known: list[str]) -> bytes:
    """One of the JSON texts in `data` mutated, or something put before it that no JSON begins with."""
    texts = data.split(BORDER)
    i = chance.randrange(len(texts))
    texts[i] = (
        chance.choice(SPECIAL_TEXTS) + texts[i] if chance.random() < 0.02 else mutate_json(texts[i], chance, known)
    )
    return BORDER.join(texts)


def safetensors(folder: Path) -> tuple[Callable[[bytes], object], list[bytes]]:
    from deepgguf.files.local import LocalFiles
    from deepgguf.formats.safetensors import read_header

    path = folder / "model.safetensors"

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        files = LocalFiles(folder)
        read_header(files, files.facts(path.name))

    header = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]},
        "b": {"dtype": "F8_E4M3", "shape": [8, 8], "data_offsets": [64, 128]},
        "c": {"dtype": "F4", "shape": [2, 3, 1, 4], "data_offsets": [128, 140]},
    }
    text = json.dumps(header).encode()
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    return parse, [struct.pack("<Q", len(text)) + text + bytes(140), pointer, b"<!DOCTYPE html>", b"\2\0\0\0\0\0\0\0{}"]


def index(folder: Path) -> tuple[Callable[[bytes], object], list[bytes]]:
    """The index and the headers of two shards of eight bytes of data each."""
    from deepgguf.checkpoint.shards import INDEX, open_shards
    from deepgguf.files.local import LocalFiles

    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]

    def parse(data: bytes) -> None:
        content, *headers = data.split(BORDER, len(files))
        (folder / INDEX).write_bytes(content)
        for file, text in zip(files, headers, strict=False):
            (folder / file).write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
        open_shards(LocalFiles(folder), {})

    content = {"metadata": {"total_size": 16}, "weight_map": {"a": files[0], "b": files[1]}}
    headers = [{name: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}} for name in "ab"]
    texts = [json.dumps(value).encode() for value in (content, *headers)]
    return parse, [BORDER.join(texts), BORDER.join([b'{"weight_map": {}}', *texts[1:]])]


def config(folder: Path) -> tuple[Callable[[bytes], object], list[bytes]]:
    from itertools import islice

    from deepgguf.formats.json_text import parse_json
    from deepgguf.models import find_family
    from deepgguf.samples.configs import config as sample_config

    extra = ["lm_head.weight", "model.layers.4.mlp.gate.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", ""]

    def parse(data: bytes) -> None:
        value = parse_json(data, "config.json")
        if isinstance(value, dict):
            family = find_family(value, "config.json")
            model = family.parse(value, "config.json")
            expected = [row.source for row in islice(family.table(model, 0), 500)]
            for name in (*expected, *extra):
                family.drop_reason(model, name)
            family.limits(model)

    return parse, [
        json.dumps(sample_config(kind, "sample")).encode() for kind in ("v3-fp8", "v3-tied", "v2-lite", "ocr")
    ]


def tokenizer(folder: Path) -> tuple[Callable[[bytes], object], list[bytes]]:
    """tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja."""
    from itertools import zip_longest

    from deepgguf.checkpoint.tokenizer import read_tokenizer
    from deepgguf.files.local import LocalFiles
    from deepgguf.models.tokenizer_keys import llamacpp_tokenizer_keys, ollama_tokenizer_keys

    files = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"]

    def parse(data: bytes) -> None:
        for file, text in zip_longest(files, data.split(BORDER, len(files) - 1)):
            (folder / file).write_bytes(text) if text is not None else (folder / file).unlink(missing_ok=True)
        found, _ = read_tokenizer(LocalFiles(folder), {})
        llamacpp_tokenizer_keys(found, 64)
        ollama_tokenizer_keys(found, 64)

    named = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True, "chat_template": "{{ x }}"}
    templates = [{"name": "tools", "template": "{{ y }}"}, {"name": "default", "template": "{{ x }}"}]
    lists = {"eos_token_id": [1, 2], "bos_token_id": 0}
    split = {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated"}
    content = {
        "added_tokens": [{"id": 0, "content": "<s>", "special": True}, {"id": 1, "content": "</s>", "special": False}],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel"}]},
        "model": {
            "type": "BPE",
            "vocab": {"<s>": 0, "a": 2, "b": 3, "ab": 4, "abb": 5, "\u0120": 6},
            "merges": [["a", "b"], "ab b"],
        },
    }
    without_split = content | {"pre_tokenizer": {"type": "ByteLevel"}}
    seeds = [
        [content, named, lists],
        [content | {"pre_tokenizer": split}, named | {"chat_template": templates}, lists],
        [without_split, {"eos_token": "</s>"}, {}, "{{ z }}"],
        [content],
    ]
    return parse, [BORDER.join(json.dumps(value).encode() for value in seed) for seed in seeds]


def gguf(folder: Path) -> tuple[Callable[[bytes], object], list[bytes]]:
    from deepgguf.formats.gguf.decode import read_header
    from deepgguf.formats.gguf.describe import describe
    from deepgguf.formats.gguf.encode import encode_header, lay_out
    from deepgguf.formats.gguf.types import GGMLType, Value, ValueType

    path = folder / "model.gguf"

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        describe([read_header(path)])

    keys = {
        "general.architecture": Value(ValueType.STRING, "deepseek2"),
        "general.alignment": Value(ValueType.UINT32, 32),
        "tokens": Value(ValueType.ARRAY, ["a", "", "\u4e2d"], ValueType.STRING),
        "scores": Value(ValueType.ARRAY, [0.5, -1.0], ValueType.FLOAT32),
        "flags": Value(ValueType.ARRAY, [True, False], ValueType.BOOL),
        "real": Value(ValueType.FLOAT64, 0.1),
    }
    tensors = lay_out([("a.weight", GGMLType.F32, (2, 3)), ("b", GGMLType.Q4_K, (2, 256)), ("c", GGMLType.BF16, (5,))])
    whole = encode_header(keys, tensors) + bytes(tensors[-1].offset + tensors[-1].nbytes)
    number = struct.pack("<I", ValueType.FLOAT32)
    wrong = [
        whole.replace(b"\1\0\0\0\0\0\0\0c", b"\1\0\0\0\0\0\0\0b"),  # a tensor twice
        whole.replace(b"scores\x09\0\0\0" + number, b"scores\x09\0\0\0\x09\0\0\0"),  # an array of arrays
        *(
            whole.replace(b"alignment\4\0\0\0\x20", b"alignment" + stated)
            for stated in (b"\5\0\0\0\x20", b"\4\0\0\0\x21")
        ),
    ]
    return parse, [whole, *wrong, encode_header({}, ()), b"GGUF" + bytes(20)]


PARSERS = {"safetensors": safetensors, "index": index, "config": config, "tokenizer": tokenizer, "gguf": gguf}


def fuzz(parser: str, runs: int, seconds: int, corpus: Path, facts: Path) -> None:
    """Feeds the parser until `runs` or `seconds` are reached; the numbers go to the file `facts`. Never returns."""
    import atheris

    from deepgguf.errors import DeepggufError

    with atheris.instrument_imports(include=[f"deepgguf.{module}" for module in MODULES[parser]]):
        parse, seeds = PARSERS[parser](facts.parent)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    places: set[tuple[str, int]] = set()  # of refusals
    counts = {"inputs": 0, "taken": 0, "refused": 0, "slowest": 0.0, "memory_mb": 0.0}

    def one(data: bytes) -> None:
        began = time.process_time()
        try:
            parse(data)
            counts["taken"] += 1
        except DeepggufError as error:
            assert str(error).isprintable()
            counts["refused"] += 1
            place = raised_at(error)
            if place not in places:  # libFuzzer does not keep them all
                places.add(place)
                (corpus / f"refused-{len(places)}").write_bytes(data)
        counts["slowest"] = max(counts["slowest"], time.process_time() - began)
        assert counts["slowest"] < SECONDS
        counts["inputs"] += 1
        if counts["inputs"] % 500 == 0 or counts["inputs"] >= runs:
            counts["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            facts.write_text(json.dumps(counts))

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.3:
            return atheris.Mutate(data, longest)
        if chance.random() < 0.4:  # nearly all of the corpus is refused early
            data = chance.choice(seeds)
        own = {"gguf": mutate_gguf, "safetensors": mutate_safetensors}.get(parser, mutate_texts)
        for _ in range(chance.randrange(1, 4)):
            data = own(data, chance, KNOWN_WORDS[parser])
        return data[:longest]

    limits = [
        f"-runs={runs}",
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-rss_limit_mb={MEMORY_MB}",
        "-timeout=10",
    ]
    quiet = ["-print_final_stats=0", "-verbosity=0", f"-artifact_prefix={facts.parent}/"]
    atheris.Setup([sys.argv[0], *limits, *quiet, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def raised_at(error: BaseException) -> tuple[str, int]:
    """File and line of the `raise`."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_code.co_filename, frames[-1][1]


def body_lines(code: types.CodeType) -> Iterator[tuple[str, int]]:
    """The lines within the functions of `code`; classes and signatures run when a module is imported."""
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            if inner.co_flags & inspect.CO_OPTIMIZED:
                first = [
                    i.positions.lineno for i in dis.get_instructions(inner) if i.opname == "RESUME" and i.positions
                ]
                lines = {line for _, _, line in inner.co_lines() if line} - {inner.co_firstlineno, *first[:1]}
                yield from ((inner.co_filename, line) for line in lines)
            yield from body_lines(inner)


def covered(parser: str, corpus: Path, folder: Path) -> tuple[int, set[tuple[str, int]], set[tuple[str, int]]]:
    """Inputs of the corpus; the lines of the parser's functions that they reach, and those that they miss."""
    from importlib import import_module

    from deepgguf.errors import DeepggufError

    wanted: set[tuple[str, int]] = set()
    for module in MODULES[parser]:
        file = import_module(f"deepgguf.{module}").__file__
        assert file is not None
        wanted.update(body_lines(compile(Path(file).read_bytes(), file, "exec")))
    files, reached = {file for file, _ in wanted}, set()

    def trace(frame: types.FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        reached.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    parse, _ = PARSERS[parser](folder)
    inputs = sorted(corpus.iterdir())
    for path in inputs:
        data = path.read_bytes()
        sys.settrace(trace)
        try:
            parse(data)
        except DeepggufError:
            pass
        finally:
            sys.settrace(None)
    return len(inputs), reached & wanted, wanted - reached


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--parser", choices=PARSERS, required=True)
    options.add_argument("--runs", type=int, default=1_000_000)
    options.add_argument("--seconds", type=int, default=0, help="stop after so many, 0 for never")
    options.add_argument(
        "--list-missed", action="store_true", help="name the lines that no input of the corpus reaches"
    )
    options.add_argument("--in", dest="inside", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.inside:
        folder = Path(chosen.inside)
        fuzz(chosen.parser, chosen.runs, chosen.seconds, folder / "corpus", folder / "work" / "facts")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        (folder / "work").mkdir()
        command = [sys.executable, __file__, "--parser", chosen.parser, "--runs", str(chosen.runs)]
        done = subprocess.run(
            [*command, "--seconds", str(chosen.seconds), "--in", name], capture_output=True, check=False, env=os.environ
        )
        if done.returncode:
            sys.stdout.write(done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace"))
            for crash in (folder / "work").glob("*-*"):
                sys.stdout.write(f"{crash.name}: {crash.read_bytes()[:2000]!r}\n")
            return 1
        facts = json.loads((folder / "work" / "facts").read_text())
        inputs, reached, missed = covered(chosen.parser, folder / "corpus", folder / "work")
    if chosen.list_missed:
        sys.stdout.writelines(f"not reached: {Path(file).name}:{line}\n" for file, line in sorted(missed))
    there = len(reached) + len(missed)
    sys.stdout.write(
        f"{chosen.parser}: {facts['inputs']:,} inputs, {facts['taken']:,} taken, {facts['refused']:,} refused, no other"
        f" exception; slowest {facts['slowest']:.3f} s, memory {facts['memory_mb']:.0f} MB;"
        f" {len(reached)} of {there} lines ({100 * len(reached) / there:.0f} %) reached by the {inputs} inputs of the corpus\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
