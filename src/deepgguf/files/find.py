"""What a caller names, as files: a folder, an address that one of the modules here knows, or files as they are."""

import importlib
import os
import pkgutil

import deepgguf.files
from deepgguf.files.files import Files
from deepgguf.files.local import LocalFiles


def find_files(source: str | os.PathLike[str] | Files) -> Files:
    """The files of the checkpoint `source`; UsageError if there are none.

    A module beside this one that has a function `claims(address) -> Files | None` is asked first; what no module claims
    is a folder.
    """
    if isinstance(source, Files):
        return source
    address = os.fspath(source)
    for found in pkgutil.iter_modules(deepgguf.files.__path__):
        module = importlib.import_module(f"deepgguf.files.{found.name}")
        claimed: Files | None = module.claims(address) if hasattr(module, "claims") else None
        if claimed is not None:
            return claimed
    return LocalFiles(address)
