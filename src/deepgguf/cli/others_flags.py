"""Flags of other converters: what is called otherwise here, or is not needed."""

from collections.abc import Sequence

SAME = {"--outtype": "type", "--outfile": "output"}
"""Flags of llama.cpp's convert_hf_to_gguf.py that mean what a choice here means, and take the same values."""

_TYPE = "use --type: deepgguf quantizes on the way"
_SOURCE = "give the checkpoint's folder without a flag"
_NOT_NEEDED = "leave it out: it is not needed here"
_NAME = "leave it out: names come from README.md's head and from the folder"

# convert_hf_to_gguf.py and llama-quantize of llama.cpp, `ollama create`, and names that people expect.
_ANSWERS = {
    **dict.fromkeys(["-q", "--quantize", "--quant", "--quantization", "--ftype", "--dtype", "--qtype"], _TYPE),
    **dict.fromkeys(["-m", "--model", "--input", "--model-path", "--model-dir", "--src"], _SOURCE),
    **dict.fromkeys(["--use-temp-file", "--no-lazy", "--verbose", "--no-tensor-first-split"], _NOT_NEEDED),
    **dict.fromkeys(["--keep-split", "--fuse-gate-up-exps", "--fuse-qkv", "--allow-requantize"], _NOT_NEEDED),
    **dict.fromkeys(["--model-name", "--metadata"], _NAME),
    **dict.fromkeys(["-t", "--threads", "--nthread", "--nthreads", "--workers"], "use --jobs"),
    "--dry-run": "use `deepgguf plan`",
    "--remote": "give hf:ORGANIZATION/NAME without a flag",
    "--mmproj": "use --only mmproj; without it, --target llama.cpp writes the mmproj beside the model",
    "--force": "use --overwrite",
    "--bigendian": "no engine needs it: leave it out",
    "--prune-layers": "it would give blocks the weights of others: leave it out",
    "--vocab-only": "deepgguf writes whole models only",
    **dict.fromkeys(["--no-mtp", "--no-nextn"], "use --mtp drop"),
}


def answer(unknown: Sequence[str], command: str) -> str | None:
    """What `command` has to say of the first of these arguments that another converter takes; None if none does."""
    flags = [argument.partition("=")[0] for argument in unknown]
    known = (f"{flag} is a flag of another converter: {_ANSWERS[flag]}" for flag in flags if flag in _ANSWERS)
    return next(known, None) or _positional(next(iter(unknown)), command)


def _positional(argument: str, command: str) -> str | None:
    """llama-quantize takes output and type without flags, and a shell's * gives all files of a set."""
    if argument.startswith("-"):
        return None
    if command.endswith((" merge", " split", " patch", " doctor")):
        return f"one file only, and {argument} is another: any file of a split set stands for all, an output is -o OUT"
    return f"one SRC only, and {argument} is another: give an output with -o, a type with --type"
