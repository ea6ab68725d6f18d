"""Where a recipe that was made is written."""

from pathlib import Path

from deepgguf.errors import UsageError


def recipe_path(folder: Path, file: str) -> Path:
    """Where the recipe of the GGUF file called `file` lies."""
    return folder / f"{file.removesuffix('.gguf')}.recipe.toml"


def is_free(path: Path, text: str, *, overwrite: bool = False) -> bool:
    """Whether the recipe is to be written there: it may be there already.

    UsageError if another file is, and is not to be replaced.
    """
    if not path.is_symlink() and not path.exists():
        return True
    data = text.encode()
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return False
    if overwrite and path.is_file():
        return True
    raise UsageError(path, "exists, and holds something else", "remove it, or name another place with `write_recipe`")
