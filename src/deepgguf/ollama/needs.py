"""What a model needs in Ollama besides its files, decided from what the files and the checkpoint hold.

docs/ollama.md gives the reasons; each was seen on a server (Ollama 0.32.15).
"""

from collections.abc import Mapping

import msgspec

from deepgguf.errors import CheckpointError
from deepgguf.files.files import Files
from deepgguf.formats.gguf.types import FileType, Value
from deepgguf.formats.json_text import SMALL_FILE, read_json
from deepgguf.formats.whole_file import read_text
from deepgguf.ollama.engine import required_version
from deepgguf.ollama.modelfile import Modelfile

_OCR = ("deepseekocr", "deepseek2-ocr")
_LONGEST_LICENSE = 1 << 20  # bytes

# The parameter, then what gives it: the field of generation_config.json and the key of a GGUF file.
_SAMPLING = (
    ("temperature", "temperature", "temp"),
    ("top_k", "top_k", "top_k"),
    ("top_p", "top_p", "top_p"),
    ("min_p", "min_p", "min_p"),
    ("repeat_penalty", "repetition_penalty", "penalty_repeat"),
)
# What the model cards advise, for checkpoints that do not say how to sample: of DeepSeek-OCR (its example draws
# nothing), R1 and V3.1, V3 (1.0 of the API is 0.3 here), V3.2, V4.
_ADVICE: dict[str, dict[str, object]] = {
    "ocr": {"temperature": 0},
    "thinking": {"temperature": 0.6, "top_p": 0.95},
    "deepseek2": {"temperature": 0.3},
    "deepseek32": {"temperature": 1, "top_p": 0.95},
    "deepseek4": {"temperature": 1, "top_p": 1},
}


class Said(msgspec.Struct, frozen=True):
    """What a checkpoint says of a model besides what is in its GGUF files: how to sample, the texts of its licenses."""

    generation: Mapping[str, object] = {}
    licenses: tuple[str, ...] = ()


def read_said(files: Files) -> Said:
    """generation_config.json and LICENSE* of a checkpoint; what cannot be read says nothing."""
    licenses = [_text(files, name) for name in sorted(files.names()) if name.upper().startswith("LICENSE")]
    return Said(_generation(files), tuple(text for text in licenses if text.strip()))


def modelfile_for(keys: Mapping[str, Value], said: Said) -> Modelfile:
    """What the model of the text file with these keys needs."""
    architecture, template = _of(keys, "general.architecture"), _of(keys, "tokenizer.chat_template")
    ocr = architecture in _OCR
    renders = not ocr and switches_thinking(template)
    name = _of(keys, "general.license")
    return Modelfile(
        template="{{ .Prompt }}" if ocr else "",
        renderer="deepseek3.1" if renders else "",
        parser="deepseek3" if renders else "",
        requires=required_version(architecture),
        parameters=_parameters(architecture, template, keys, said),
        licenses=said.licenses or ((name,) if name else ()),
    )


def becomes_q8_0(keys: Mapping[str, Value]) -> bool:
    """Whether the server makes Q8_0 of such a file: it was FP8, and is not quantized (server/create.go)."""
    own, type = _of(keys, "general.architecture"), keys.get("general.file_type")
    was = keys.get(f"{own}.source_fp8_tensors")
    unquantized = type is not None and type.value in (FileType.F16, FileType.BF16)
    return _of(keys, f"{own}.source_quantization") == "hf_fp8" and bool(was and was.value) and unquantized


def hints(keys: Mapping[str, Value]) -> list[str]:
    """What another choice would do better for a model with these keys, a sentence each."""
    found = []
    if becomes_q8_0(keys):
        found.append('from FP8, Ollama itself makes Q8_0: `type="q8_0"` gives that at once, in half the space')
    if _of(keys, "general.architecture") == "deepseek2" and "deepseek2.attention.key_length_mla" not in keys:
        found.append('`target="llama.cpp"` runs in Ollama too, with a KV cache 9 to 71 times smaller (docs/targets.md)')
    return found


def switches_thinking(template: str) -> bool:
    """Whether a chat template is that of V3.1: it asks whether to think, and calls tools as V3 and R1 do.

    Ollama's renderer writes these prompts with the tools in them, and ends a prompt without thoughts as the model was
    trained; by the Jinja text it loses the tools, and begins answers by `<think></think>`. V3.2's and V4's templates,
    which call tools by DSML, are rendered by llama.cpp.
    """
    return "thinking is defined" in template and "<｜tool▁calls▁begin｜>" in template and "｜DSML｜" not in template


def _parameters(architecture: str, template: str, keys: Mapping[str, Value], said: Said) -> dict[str, object]:
    ocr = architecture in _OCR
    if not template and not ocr:
        return {}  # a base model: nobody advises anything
    found = {name: value for name, field, key in _SAMPLING if (value := _number(keys, said, field, key)) is not None}
    if said.generation.get("do_sample") is False and not found.get("temperature"):
        found = {"temperature": 0}
    kind = "ocr" if ocr else "thinking" if "</think>" in template and architecture == "deepseek2" else architecture
    advised = dict(_ADVICE.get(kind, {}))
    # A page of dense text takes 2,000 to 3,000 tokens of answer behind up to 1,000 of picture: 4,096, Ollama's least
    # context, cuts it.
    return (advised if ocr or not found else {}) | found | ({"num_ctx": 8192} if ocr else {})


def _number(keys: Mapping[str, Value], said: Said, field: str, key: str) -> object:
    """A number that the checkpoint gives, or the file; of a 32-bit float the shortest text that means it."""
    given = said.generation.get(field)
    if given is None and (value := keys.get(f"general.sampling.{key}")) is not None:
        given = float(f"{value.value:.7g}") if isinstance(value.value, float) else value.value
    return given if isinstance(given, int | float) and not isinstance(given, bool) else None


def _of(keys: Mapping[str, Value], name: str) -> str:
    value = keys[name].value if name in keys else ""
    return value if isinstance(value, str) else ""


def _generation(files: Files) -> Mapping[str, object]:
    try:
        found = read_json(files, "generation_config.json", SMALL_FILE)
    except CheckpointError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(files: Files, name: str) -> str:
    try:
        return read_text(files, name, _LONGEST_LICENSE)
    except CheckpointError:
        return ""
