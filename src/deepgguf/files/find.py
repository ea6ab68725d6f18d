"""What a caller names, as files: a folder, an address of a source that a module here reads, or files as they are."""

import importlib
import os
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import deepgguf.files
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.files.files import Files
from deepgguf.files.hub_name import hub_address, hub_file_address
from deepgguf.files.local import LocalFiles, named_file

_SCHEMES: Mapping[str, str] = {
    "hf": "deepgguf.files.network.hub",
    "http": "deepgguf.files.network.http",
    "https": "deepgguf.files.network.http",
    "s3": "deepgguf.files.network.clouds",
    "gs": "deepgguf.files.network.clouds",
    "az": "deepgguf.files.network.clouds",
}
"""Which module reads the addresses of a scheme; imported when it is used, as is what only that module needs."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters at least
_UNKNOWN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class Source(Protocol):
    """What a module of _SCHEMES offers; both raise UsageError for what is no address of theirs, or names nothing."""

    def open_folder(self, address: str) -> Files:
        """The files of a checkpoint."""

    def open_file(self, address: str) -> tuple[Files, str]:
        """The files among which a single file is, and its name there."""


def find_files(source: str | os.PathLike[str] | Files) -> Files:
    """The files of the checkpoint `source`; UsageError if there are none.

    An address begins with one of the schemes above. ORGANIZATION/NAME is a model of the Hugging Face Hub where no
    folder is called so, and so is the address of its web page. Else a module beside this one that has a function
    `claims(path) -> Files | None` is asked; what no module claims is a folder.
    """
    if isinstance(source, Files):
        return source
    address = hub_address(os.fspath(source)) or os.fspath(source)
    found = _source_of(address)
    return _on_this_machine(address) if found is None else found.open_folder(address)


def find_file(path: str | os.PathLike[str], what: str) -> tuple[Files, str]:
    """The files among which a single file is, and its name there; `what` it is to be, for UsageError if it is not."""
    address = hub_file_address(os.fspath(path)) or os.fspath(path)
    found = _source_of(address)
    return named_file(path, what) if found is None else found.open_file(address)


def near_file(path: str | os.PathLike[str], what: str) -> tuple[Files, str]:
    """As `find_file`, of a file that is read all over: from a copy of one that is elsewhere."""
    files, name = find_file(path, what)
    if not files.connections:
        return files, name
    from deepgguf.files.near import copied  # with tempfile, which nothing else needs

    with files:
        try:
            return copied(files, name)
        except CheckpointError as error:
            raise UsageError(os.fspath(path), error.found, f"give the address of {what}") from None


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether it is read by another module than that of folders."""
    return _source_of(hub_file_address(os.fspath(path)) or os.fspath(path)) is not None


def _on_this_machine(path: str) -> Files:
    for found in pkgutil.iter_modules(deepgguf.files.__path__):
        module = importlib.import_module(f"deepgguf.files.{found.name}")
        claimed: Files | None = module.claims(path) if hasattr(module, "claims") else None
        if claimed is not None:
            return claimed
    return LocalFiles(path)


def _source_of(address: str) -> Source | None:
    """The module that reads an address; None for a path. UsageError for an address of a scheme that none reads."""
    scheme = _SCHEME.match(address)
    name = _SCHEMES.get(scheme[1].lower()) if scheme else None
    if name:
        return cast(Source, importlib.import_module(name))
    if _UNKNOWN.match(address) and not Path(address).exists():
        known = ", ".join(f"{scheme}:" for scheme in _SCHEMES)
        raise UsageError(address, f"deepgguf reads no {address.partition(':')[0]}: addresses", f"it reads {known}")
    return None
