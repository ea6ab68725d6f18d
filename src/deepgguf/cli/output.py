"""What a command writes: pages and JSON on standard output, complaints on standard error."""

import io
import os
import re
import sys
from typing import TYPE_CHECKING, TextIO

from deepgguf.errors import OutputError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

_WHOLE = 100_000  # columns, more than any line has
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


def open_streams() -> None:
    """Streams that every command can use.

    A closed one leads nowhere from here on; else the next file to be opened, the output, would get its number. What
    the terminal's encoding lacks is escaped.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(text: str) -> None:
    """One line on standard error."""
    to_stderr(f"deepgguf: {text}\n")


def warn(warnings: "Iterable[str]") -> None:
    """Warnings on standard error, a line each, where standard output is for JSON."""
    for warning in warnings:
        complain(f"warning: {printable(warning, 1000)}")


def to_stderr(text: str) -> None:
    """Text on standard error, if that can be written; the exit status says the rest."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _abandon(sys.stderr)


def to_stdout(text: str) -> None:
    """Text on standard output; BrokenPipeError if its reader has gone, OutputError if it cannot be written."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon(sys.stdout)
        raise
    except OSError as error:
        _abandon(sys.stdout)
        found, advice = f"cannot be written: {error.strerror}", "send it elsewhere; files that were made are complete"
        raise OutputError("standard output", found, advice) from None


def print_page(page: "RenderableType") -> None:
    """A page: on a terminal lines fold at its width, in a file or a pipe they stay whole. Errors: see `to_stdout`."""
    from rich.console import Console

    # Strings are what files and tensors are called, not markup.
    console = Console(width=None if sys.stdout.isatty() else _WHOLE, highlight=False, emoji=False, markup=False)
    with console.capture() as capture:
        console.print(page, crop=False)
    # Not by the console itself: it fills lines with blanks, and ends the process with status 1 if a pipe is closed.
    to_stdout("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def print_json(value: object) -> None:
    """JSON with an indent, in UTF-8 whatever the locale; what moves a terminal's cursor is escaped.

    Errors: see `to_stdout`.
    """
    import msgspec

    from deepgguf.formats.json_bytes import encode_json

    text = msgspec.json.format(encode_json(value), indent=1).decode()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    to_stdout(_NOT_ASCII.sub(_escaped, text) + "\n")


def _escaped(match: re.Match[str]) -> str:
    import json

    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]


def _abandon(stream: TextIO) -> None:
    """What is still in the stream's buffer goes nowhere; else Python would fail on it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
