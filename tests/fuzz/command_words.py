"""Command lines and environments: sensible ones, and what becomes of them when words are swapped, doubled or absurd."""

import random
from collections.abc import Mapping, Sequence

TYPES = ["auto", "source", "f32", "f16", "bf16", "q8_0", "q4_0", "q5_1", "q2_k", "q3_k_m", "q4_k_m", "q6_k", "iq4_xs"]
FILES = ["done.gguf", "done-00001-of-00003.gguf", "mmproj-done.gguf", "plain.gguf", "q.gguf"]
OUTPUTS = ["new.gguf", "model.gguf", "done.gguf", "own.gguf", "out/", ".", "src", "none/new.gguf", "src/config.json"]
# A flag, and what it may be given; nothing for one that takes no value.
LIMITS: Mapping[str, Sequence[str]] = {
    "--split-max-size": ["40K", "100000", "1M", "48G"],
    "--split-max-tensors": ["1", "5", "12", "1000"],
}
KEYS: Mapping[str, Sequence[str]] = {
    "--override-kv": [
        "general.name=str:x",
        "deepseek2.block_count=int:2",
        "any.key=float:1e9",
        "general.alignment=int:8",
    ],
}
CHAT: Mapping[str, Sequence[str]] = {
    "--pre": ["deepseek-llm", "deepseek-v3", "default", "none"],
    "--chat-template": ["src/chat_template.jinja", "src/config.json", "none"],
}
QUANTIZED: Mapping[str, Sequence[str]] = {
    "--target": ["ollama", "llama.cpp"],
    "--type": [*TYPES, "copy", "Q4_K_M"],
    "--recipe": ["experts-iq2_xxs", "experts-mxfp4", "recipe.toml", "src/config.json"],
    "--imatrix": ["imatrix.gguf", "imatrix.dat"],
    "--include-weights": ["ffn", "attn", "none"],
    "--exclude-weights": ["ffn", "attn", "none"],
    "--tensor-type": ["attn_kv_b=q8_0", "ffn_.*=q4_0", "blk.[0-9].*=f16", "output=bf16"],
    "--tensor-type-file": ["types.txt", "src/config.json"],
    "--output-tensor-type": ["q8_0", "f16", "q6_k"],
    "--token-embedding-type": ["q8_0", "bf16", "q4_0"],
    "--pure": [],
    "--leave-output-tensor": [],
    **LIMITS,
    **KEYS,
}
PLACES: Mapping[str, Sequence[str]] = {"--output": OUTPUTS, "-o": OUTPUTS, "--json": [], "--jobs": ["1", "2", "3"]}
WHAT: Mapping[str, Sequence[str]] = {
    **QUANTIZED,
    **CHAT,
    **PLACES,
    "--like": ["q.gguf", "done.gguf", "imatrix.gguf"],
    "--budget": ["50K", "200K", "1M", "48G"],
    "--write-recipe": ["new.toml", "recipe.toml", "out/new.toml"],
    "--only": ["text", "mmproj"],
    "--mtp": ["keep", "drop", "only"],
    "--draft": [],
    "--drop": ["layers.3", "layers.3.embed_tokens", "lm_head", "none"],
    "--part": ["1", "2", "3", "1/2", "2/3"],
    "--cache": ["cache", "done.gguf"],
}
HOW: Mapping[str, Sequence[str]] = {
    "--overwrite": [],
    "--resume": [],
    "--restart": [],
    "--allow-nonfinite": [],
    "--no-manifest": [],
    "--report-error": [],
    "--sha256": [],
}
FLAGS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "convert": {**WHAT, **HOW, "--print-modelfile": []},
    "plan": WHAT,
    "quantize": {**QUANTIZED, **PLACES, **HOW, "--allow-requantize": [], "--keep-split": [], "--dry-run": []},
    "merge": {**PLACES, **HOW},
    "split": {**LIMITS, **PLACES, **HOW, "--no-tensor-first-split": []},
    "patch": {
        **KEYS,
        **CHAT,
        **PLACES,
        **HOW,
        "--mend": [],
        "--from": ["src", "models--a--b", "none"],
        "--remove-key": ["general.name", "tokenizer.ggml.pre", "none"],
        "--architecture": ["deepseek2", "deepseek32", "other"],
        "--split-kv-b": [],
        "--undo": [],
    },
    "doctor": {"--json": []},
    "inspect": {"--tensors": [], "--json": []},
    "verify": {**QUANTIZED, **CHAT, "--jobs": ["1", "2"], "--remake": [], "--parts": [], "--sha256": [], "--json": []},
    "sample": {
        "--size": ["sample", "bench", "full"],
        "--shards": ["1", "2", "7"],
        "--scatter": [],
        "--sparse": [],
        "--tokenizer": ["src", "."],
        "--json": [],
    },
}
SAMPLES = ["v3", "v3-fp8", "v3-tied", "v2-lite", "ocr"]
# Nothing here names a place outside of the folder that a try has to itself: it may stand where something is written.
ABSURD = [
    *("", " ", "-", "--", ".", "..", "./", "../", "none", "none/", "a/../b", "~", "$HOME", "*", "=", "=q8_0", "a="),
    *("0", "-1", "1.5", "1e9", "0x10", "٣", "nan", "inf", "9" * 20, "9" * 400, str(2**31), str(2**63), str(2**64)),
    *("1K", "0G", "-1M", "G", "1T", "1.5G", "9" * 19 + "G"),
    *("é", "中文", "a\u0301", "\U0001f600", "\u202egpj.", "\ufeff", "a\nb", "\t", "\x1b[31mred", "\x7f", "\x9b2J"),
    *("\udcff", "a\udce9.gguf", "x" * 255, "x" * 260, "x/" * 2500, "y" * 70000),
    *(
        "(",
        "[",
        "(?P<a",
        "[a--b]=q8_0",
        "a**=f16",
        "(a+)+$=q8_0",
        "\\",
        "(?i)OUTPUT=f16",
        "[[a]]=f16",
        "a{9999999999}=f16",
    ),
    *(
        "[bold]",
        "[/]",
        "[link=x]",
        "{}",
        "{0}",
        "%s",
        "`type`",
        "'; touch x; '",
        '"',
        "None",
        "True",
        "all",
        "-h",
        "--help",
    ),
    *(
        "src",
        "src/config.json",
        "done.gguf",
        "plain.gguf.json",
        "left.fifo",
        "folder",
        "loop",
        "--version",
        "-ofoo",
        "--typ",
    ),
]
# Only where something is read.
ELSEWHERE = [
    "/",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/proc",
    "/proc/self/mem",
    "/proc/self",
    "/etc/passwd",
    "/dev/stdin",
]
ENVIRONMENT: Mapping[str, Sequence[str]] = {
    "DEEPGGUF_SIMD": ["", "scalar", "portable", "avx2", "foo", "\udcff", "AVX2 "],
    "HF_HOME": ["", ".", "/nonexistent", "src", "\udcff"],
    "HOME": ["", ".", "/nonexistent", "\udcff"],
    "COLUMNS": ["", "0", "1", "-5", "40", "100000", "abc", "9" * 30],
    "LINES": ["", "0", "abc"],
    "LANG": ["", "C", "C.UTF-8", "de_DE.ISO-8859-1", "nonsense"],
    "LC_ALL": ["", "C", "POSIX", "C.UTF-8", "tr_TR.UTF-8", "nonsense"],
    "LANGUAGE": ["de", "tr"],
    "PYTHONIOENCODING": ["utf-8", "ascii", "latin-1", "cp1252", "ascii:replace", "utf-8:surrogateescape"],
    "PYTHONUTF8": ["0", "1"],
    "PYTHONWARNINGS": ["default", "ignore"],
    "PYTHONHASHSEED": ["0", "7"],
    "TERM": ["", "dumb", "xterm-256color", "nonsense", "\udcff"],
    "NO_COLOR": ["", "1"],
    "FORCE_COLOR": ["1", ""],
    "TTY_COMPATIBLE": ["1", "0"],
    "TMPDIR": ["", ".", "/nonexistent"],
    "TZ": ["", "nonsense"],
    "PATH": [""],
    "PWD": ["/nonexistent", ""],
    "OMP_NUM_THREADS": ["0", "-1", "abc"],
    "DEEPGGUF_JOBS": ["0"],
}


def random_environment(chance: random.Random) -> dict[str, str]:
    """Often none at all, else some variables, most of them with a value that means something."""
    if chance.random() < 0.5:
        return {}
    names = chance.sample(sorted(ENVIRONMENT), chance.randint(1, 5))
    return {name: chance.choice(ENVIRONMENT[name]) for name in names}


def random_command(chance: random.Random, source: str, choices: Mapping[str, object]) -> list[str]:
    """A command line for the sound files of one kind: its checkpoint is `source`, `choices` made its done.gguf."""
    words = _sensible(chance, source, _as_flags(choices)) if chance.random() < 0.7 else _assembled(chance, source)
    for _ in range(chance.choice([0, 0, 0, 0, 1, 1, 2])):
        words = _spoilt(chance, words)
    return words


def _as_flags(choices: Mapping[str, object]) -> list[str]:
    return [word for name, value in choices.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def _sensible(chance: random.Random, source: str, made: list[str]) -> list[str]:
    """What a user would say."""
    file, type = chance.choice([*FILES, "own.gguf"]), chance.choice(TYPES)
    resumed = ["convert", source, "-o", "model.gguf", *made]
    return chance.choice(
        [
            [*resumed, "--resume"],
            [*resumed, "--resume", "--overwrite", *(["--sha256"] if chance.random() < 0.3 else [])],
            [*resumed, "--restart"],
            resumed,
            ["convert", source, "-o", "new.gguf", "--type", chance.choice(TYPES)],
            ["convert", source, "-o", "q.gguf", "--overwrite", "--type", "q8_0", "--report-error"],
            ["convert", source, "--type", "iq4_xs", "--imatrix", chance.choice(WHAT["--imatrix"])],
            ["convert", source, "--budget", chance.choice(WHAT["--budget"])],
            ["quantize", file, "--type", type, "-o", "new.gguf", "--allow-requantize"],
            ["quantize", "plain.gguf", "--type", type, "--imatrix", chance.choice(WHAT["--imatrix"]), "--dry-run"],
            ["merge", "done-00002-of-00003.gguf", "-o", "new.gguf"],
            ["split", file, "--split-max-tensors", chance.choice(WHAT["--split-max-tensors"]), "-o", "new.gguf"],
            ["patch", "own.gguf", "--mend"],
            ["patch", "own.gguf", "--override-kv", chance.choice(WHAT["--override-kv"])],
            ["patch", "own.gguf", "--undo"],
            ["patch", file, "--from", source, "--split-kv-b", "-o", "new.gguf"],
            ["doctor", file],
            ["plan", source, *(["--json"] if chance.random() < 0.5 else [])],
            ["plan", source, "--type", chance.choice([*TYPES, "all"]), "--target", chance.choice(WHAT["--target"])],
            ["plan", source, "--type", "q4_k_m", "--imatrix", chance.choice(WHAT["--imatrix"])],
            ["inspect", file],
            ["inspect", file, "--tensors", *(["--json"] if chance.random() < 0.5 else [])],
            ["verify", file],
            ["verify", file, "--sha256", "--json"],
            ["verify", file, source, *(["--remake"] if chance.random() < 0.5 else [])],
            ["verify", chance.choice(["q.gguf", "own.gguf"]), "plain.gguf", "--remake"],
            ["sample", chance.choice(SAMPLES), "out", "--sparse", "--shards", chance.choice("127")],
        ]
    )


def _assembled(chance: random.Random, source: str) -> list[str]:
    """Any command with any of its flags."""
    command = chance.choice(sorted(FLAGS))
    positional = {
        "convert": [[source]],
        "plan": [[source]],
        "quantize": [[file] for file in FILES],
        "merge": [["done-00001-of-00003.gguf"], ["plain.gguf"]],
        "split": [[file] for file in FILES],
        "patch": [["own.gguf"], *([file] for file in FILES)],
        "doctor": [["own.gguf"], *([file] for file in FILES), ["imatrix.gguf"]],
        "inspect": [["done.gguf"], ["plain.gguf"], ["imatrix.gguf"], ["model.gguf.part"]],
        "verify": [
            ["done.gguf"],
            ["q.gguf", source],
            ["plain.gguf", source],
            ["imatrix.gguf", source],
            ["q.gguf", "plain.gguf"],
            ["own.gguf", "done-00001-of-00003.gguf"],
        ],
        "sample": [[chance.choice(SAMPLES), "out", "--sparse"], [chance.choice(SAMPLES), "folder"]],
    }[command]
    words = [command, *chance.choice(positional)]
    for flag in chance.sample(sorted(FLAGS[command]), chance.randint(0, min(4, len(FLAGS[command])))):
        values = FLAGS[command][flag]
        words += [flag, chance.choice(values)] if values else [flag]
    return words


def _spoilt(chance: random.Random, words: list[str]) -> list[str]:
    """One word replaced, left out, doubled, moved, or put between."""
    words, at, how = words.copy(), chance.randrange(len(words)), chance.randrange(10)
    if how < 5:
        reads = words[0] in ("inspect", "verify", "plan", "doctor") and (at == 1 or words[at - 1] == "--imatrix")
        words[at] = chance.choice(ELSEWHERE if reads and chance.random() < 0.3 else ABSURD)
    elif how == 5:
        del words[at]
    elif how == 6:
        words.insert(at, words[at])
    elif how == 7:
        words.append(words.pop(at))
    elif how == 8:
        words.insert(at, chance.choice(ABSURD))
    else:
        words.append(chance.choice(sorted({flag for flags in FLAGS.values() for flag in flags})))
    return words or [""]
