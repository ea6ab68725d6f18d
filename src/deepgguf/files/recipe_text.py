"""The text of a recipe: a file of the user's, or one that comes with deepgguf."""

import os
from pathlib import Path

from deepgguf.choices import StrPath
from deepgguf.errors import UsageError
from deepgguf.files.given_text import read_given_text

_SHIPPED = Path(__file__).parent.parent / "recipes" / "shipped"


def shipped_recipes() -> tuple[str, ...]:
    """The names of the recipes that come with deepgguf."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def read_recipe_text(recipe: StrPath) -> tuple[str, str]:
    """What the recipe is called, and its text; UsageError if there is no such recipe or file, or it cannot be read."""
    name = os.fspath(recipe)
    if name in shipped_recipes():
        return name, read_given_text(_SHIPPED / f"{name}.toml")
    if not Path(recipe).exists():
        found = f"no such file, nor a recipe of deepgguf's: {', '.join(shipped_recipes())}"
        raise UsageError(Path(recipe), found, "name one of these, or the path of a recipe file")
    return Path(recipe).stem, read_given_text(recipe)
