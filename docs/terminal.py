"""The picture of a terminal in README: three commands and what they print, in a folder of their own.

python docs/terminal.py    writes docs/terminal.svg
"""

import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 106
COMMANDS = (
    "deepgguf sample v3-fp8 DeepSeek-V3 --shards 3 --scatter   # a small DeepSeek-V3, as it is released",
    "deepgguf convert DeepSeek-V3 --type q4_k_m --report-error",
    "deepgguf verify DeepSeek-V3-Q4_K_M.gguf DeepSeek-V3",
)


def said(command: str, folder: str) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    words = [sys.executable, "-m", *shlex.split(command, comments=True)]
    subprocess.run(words, cwd=folder, env=environment, stdout=theirs, stderr=subprocess.DEVNULL, check=True)
    os.close(theirs)
    found = b""
    try:
        while more := os.read(ours, 65536):
            found += more
    except OSError:  # Linux has EIO for the end of a terminal that nobody writes to
        pass
    os.close(ours)
    return found.decode().replace("\r\n", "\n")


def main() -> None:
    """Writes the picture."""
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, highlight=False)
        for command in COMMANDS:
            console.print(Text(f"$ {command}", style="bold"))
            console.print(Text.from_ansi(said(command, folder)))
    svg = console.export_svg(title="deepgguf", theme=MONOKAI, unique_id="terminal")
    # The font of the reader's own terminal, not one from elsewhere.
    svg = re.sub(r"\s*@font-face \{.*?\n\s*\}\n", "\n", svg, flags=re.DOTALL)
    Path(__file__).with_suffix(".svg").write_text(svg)


if __name__ == "__main__":
    main()
