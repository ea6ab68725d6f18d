"""The facts of a report inside its page, as JSON that no browser runs."""

from pathlib import Path

import msgspec

from deepgguf.errors import OutputError, UsageError
from deepgguf.formats.json_bytes import encode_json_in_markup
from deepgguf.report.facts import SCHEMA, ReportFacts

GENERATOR = b'<meta name="generator" content="deepgguf'
_OPENING = b'<script type="application/json" id="deepgguf-facts">'
_CLOSING = b"</script>"
_BEGINNING = 4096  # bytes of a page in which its generator is named
_CAP = 256 << 20  # bytes
_ADVICE = "make it again with `deepgguf report FILE.gguf`"


def embed(facts: ReportFacts) -> str:
    """The element that holds `facts`."""
    return f"{_OPENING.decode()}{encode_json_in_markup(facts)}{_CLOSING.decode()}"


def is_page(path: Path) -> bool:
    """Whether `path` is a page of deepgguf; OutputError if it cannot be read."""
    return GENERATOR in _read(path, _BEGINNING)


def read_embedded(path: Path) -> ReportFacts:
    """The facts in the report at `path`.

    UsageError for a page that is no report of this version, OutputError for one that cannot be read.
    """
    page = _read(path, _CAP)
    _, found, rest = page.partition(_OPENING)
    if not found or GENERATOR not in page[:_BEGINNING]:
        raise UsageError(path, "is not a report of deepgguf", "give a GGUF file, or a page made by --report")
    try:
        facts = msgspec.json.decode(rest.partition(_CLOSING)[0], type=ReportFacts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UsageError(path, "is a report that was damaged, or of another version of deepgguf", _ADVICE) from None
    if facts.schema != SCHEMA:
        raise UsageError(path, f"is a report of form {facts.schema}, and {SCHEMA} is known", _ADVICE)
    return facts


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise OutputError(path, f"cannot be read: {error.strerror}") from None
