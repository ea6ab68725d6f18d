"""What a command writes: pages and JSON on standard output, complaints on standard error."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


def complain(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"deepgguf: {text}\n")


def print_page(page: "RenderableType") -> None:
    """A page: on a terminal lines fold at its width, in a file or a pipe they stay whole."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(page)
    # Not by the console itself: it fills lines with blanks, and ends the process with status 1 if a pipe is closed.
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def print_json(value: object) -> None:
    """JSON with an indent; paths as text."""
    import msgspec

    def plain(value: object) -> object:
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)

    encoded = msgspec.json.encode(value, enc_hook=plain)
    sys.stdout.write(msgspec.json.format(encoded, indent=1).decode() + "\n")
