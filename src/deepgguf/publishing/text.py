"""A card as Markdown: the files, how to run them, how they were made, and all of it as data in the last line."""

import re
import shlex
from collections.abc import Iterator

import msgspec
import xxhash

from deepgguf.checkpoint.model_card import HUB
from deepgguf.errors import printable
from deepgguf.formats.gguf.split_set import unsplit_stem
from deepgguf.formats.gguf.types import FileType
from deepgguf.formats.json_bytes import encode_json_in_markup
from deepgguf.publishing.card import Card, Engine, Made, PublishedFile
from deepgguf.publishing.head import head_of
from deepgguf.terminal.sizes import size

_LONGEST = 4000
_ELSEWHERE = "ORGANIZATION/NAME"
_MARKUP = re.compile(r"([\\`*{}\[\]<>|~&$]|(?<!\w)_|_(?!\w))")
_DATA = re.compile(r"<!-- deepgguf ([0-9a-f]{32}) (\{.*\}) -->\n?\Z")
_LINES = {"llama.cpp": "llama-cli -hf {repository}{tag}", "Ollama": "ollama run hf.co/{repository}{tag}"}


def card_text(card: Card) -> str:
    """The whole README.md."""
    text = "\n".join([head_of(card), *_body(card), ""])
    data = encode_json_in_markup(card)
    return f"{text}<!-- deepgguf {_digest(text, data)} {data} -->\n"


def parse_card(text: str) -> Card | None:
    """The card that `card_text` made `text` of; None if it is none, or was changed by others."""
    found = _DATA.search(text)
    if not found or found[1] != _digest(text[: found.start()], found[2]):
        return None
    try:
        return msgspec.json.decode(found[2], type=Card)
    except (msgspec.DecodeError, RecursionError):
        return None


def _digest(text: str, data: str) -> str:
    return xxhash.xxh3_128_hexdigest(text.encode() + data.encode())


def _body(card: Card) -> Iterator[str]:
    said = card.said
    yield f"# {_plain(said.name)} GGUF\n"
    commit = f", commit `{_code_word(said.commit)}`" if said.commit else ""
    origin = f"[{_plain(said.base)}]({HUB}/{said.base}){commit}" if said.base else _plain(said.name)
    yield f"GGUF files of {origin}, made by deepgguf {card.made[-1].version}.\n"
    yield from _table([file for made in card.made for file in made.files])
    runnable = [made for made in card.made if made.runs]
    if runnable:
        yield "## Run\n"
    for made in runnable:
        yield f"### {_plain(unsplit_stem(made.runs or ''))}\n"
        yield from _ways(card, made)
    yield "## How they were made\n"
    yield _code(list(dict.fromkeys(made.command for made in card.made)))  # several outputs are one command's
    if said.address:
        yield "Compare a file with the original, tensor by tensor:\n"
        yield _code([shlex.join(["deepgguf", "verify", card.made[-1].files[0].name, said.address])])


def _table(files: list[PublishedFile]) -> Iterator[str]:
    measured = any(file.error is not None for file in files)
    columns = ["file", "size", "bits per weight", *(["error"] if measured else []), "SHA-256"]
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for file in files:
        error = [f"{file.error:.3%}" if file.error is not None else ""] if measured else []
        cells = [
            _plain(file.name),
            size(file.size),
            f"{file.bits:.2f}",
            *error,
            f"`{file.sha256}`" if file.sha256 else "",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    if measured:
        yield "The error is the root mean square of what quantizing changed, relative to that of the weights.\n"


def _ways(card: Card, made: Made) -> Iterator[str]:
    """A command for each engine that fetches the file by itself; else for the file on this machine."""
    assert made.runs
    for engine in made.engines:
        yield f"With {engine}:\n"
        yield _code([_line(card, made.runs, engine)])
    if not made.engines:
        yield f"Download the files; `{_code_word(made.runs)}` is the one to start with.\n"


def _line(card: Card, file: str, engine: Engine) -> str:
    """By the type where that names one file only, else by the file: llama.cpp looks for the type and a dot or dash
    (common/download.cpp, find_best_model), the Hub for Ollama takes a file's name as the tag too (hub-docs, ollama.md).
    """
    repository, type = card.published_as or _ELSEWHERE, _type_in(file)
    if type and [_type_in(made.runs or "") for made in card.made].count(type) == 1:
        tag = f":{type}"
    else:
        tag = f" -hff {shlex.quote(file)}" if engine == "llama.cpp" else f":{shlex.quote(file)}"
    return _LINES[engine].format(repository=repository, tag=tag)


def _type_in(file: str) -> str:
    """The type that ends the file's name; "" if none does."""
    type = unsplit_stem(file).rpartition("-")[2].upper()
    return type if type in FileType.__members__ else ""


def _code(lines: list[str]) -> str:
    """A block of code; each line is one, so that none can end the block."""
    shown = "\n".join(printable(line, _LONGEST) for line in lines)
    return f"```sh\n{shown}\n```\n"


def _code_word(text: str) -> str:
    return printable(text).replace("`", "'")


def _plain(text: str) -> str:
    """Text of a stranger, without the marks of Markdown in it."""
    return _MARKUP.sub(r"\\\1", printable(text))
