"""Where files go: the folder and the name that `output` asks for."""

import os
from pathlib import Path

from deepgguf.choices import StrPath
from deepgguf.errors import UsageError
from deepgguf.run.address import Place, parse_output


def output_folder(output: StrPath | None) -> Place:
    """Where the files go: `output` if it is a folder, else the folder it names a file in.

    UsageError for an address of which deepgguf reads only.
    """
    if output is None:
        return Path()
    address = parse_output(os.fspath(output))
    if address is not None:
        return address if is_folder(output) or not address.key else address.parent
    return Path(output) if is_folder(output) else Path(output).parent


def folder_of_several(output: StrPath | None) -> Place:
    """The folder that `output` is, whether it is there or not; UsageError for an address that is only read."""
    if file_name(output) is not None and os.fspath(output or "").endswith(".gguf"):
        raise UsageError("`output`", f"{os.fspath(output or '')} is one file, and several are made", "name a folder")
    return output_folder(None if output is None else os.path.join(os.fspath(output), ""))  # noqa: PTH118


def file_name(output: StrPath | None) -> str | None:
    """The name of the file that `output` is; None if it is a folder, or nothing."""
    if output is None or is_folder(output):
        return None
    address = parse_output(os.fspath(output))
    name = Path(output).name if address is None else address.name
    if not name:
        return None
    return name if name.endswith(".gguf") else f"{name}.gguf"


def is_folder(output: StrPath) -> bool:
    """Whether the path ends as a folder's, or is one."""
    return os.fspath(output).endswith(os.sep) or os.path.isdir(output)  # noqa: PTH112 - whatever the name, no OSError
