"""What a target makes of an architecture: one module per layout, each with a `LAYOUT`, found by being here."""

import importlib
import pkgutil
from functools import cache

from deepgguf.errors import UsageError
from deepgguf.layouts.layout import Layout


@cache
def known_layouts() -> dict[tuple[str, str], Layout]:
    """Every layout by target and by Hugging Face's name of the architecture."""
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    found: list[Layout] = [m.LAYOUT for m in modules if hasattr(m, "LAYOUT")]
    return {(layout.target, source): layout for layout in found for source in layout.sources}


def find_layout(target: str, architecture: str) -> Layout:
    """The layout of `target` for `architecture`; UsageError if there is none."""
    layout = known_layouts().get((target, architecture))
    if layout is None:
        targets = sorted({t for t, source in known_layouts() if source == architecture})
        raise UsageError("`target`", f"{target} has no layout for {architecture}", f"choose from {', '.join(targets)}")
    return layout
