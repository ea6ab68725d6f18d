"""The pattern by which a tokenizer of a tiktoken.model splits text: it stands only in the code of the checkpoint.

The code is read as text, whatever it is: parsed, never compiled or run.
"""

import ast
import warnings
from collections.abc import Mapping
from typing import NamedTuple

from deepgguf.errors import CheckpointError
from deepgguf.files.files import Files
from deepgguf.formats.whole_file import read_text

_LARGEST = 1 << 18  # bytes; Kimi-K2's has 12,000
_PATTERN = "pat_str"  # as tiktoken.Encoding calls it


class SplitPattern(NamedTuple):
    """A pattern, and the file that has it; where it is not made of literals, the Python that makes it.

    Of several, all, one a line.
    """

    file: str
    text: str


def read_split_pattern(files: Files, auto_map: object) -> SplitPattern | None:
    """What is assigned to pat_str in the file that `auto_map` of tokenizer_config.json names for AutoTokenizer.

    None if there is no such file, or no such assignment in it; CheckpointError if it is no Python.
    """
    file = _file(auto_map)
    if file not in files.names():
        return None
    source = read_text(files, file, _LARGEST)
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes whose meaning will change
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise CheckpointError(file, "cannot be parsed as Python", "take it from the original model") from None
    found = [value for node in ast.walk(tree) if (value := _assigned(node))]
    if not found:
        return None
    texts = [_literal(value) or ast.get_source_segment(source, value) or "" for value in found]
    return SplitPattern(file, "\n".join(texts))


def _file(auto_map: object) -> str:
    """For "MODULE.CLASS", alone or as the first of two, of which the second would be the class of a fast tokenizer."""
    named = auto_map.get("AutoTokenizer") if isinstance(auto_map, Mapping) else None
    first = next(iter(named), None) if isinstance(named, list) else named
    return f"{first.rpartition('.')[0]}.py" if isinstance(first, str) else ""


def _assigned(node: ast.AST) -> ast.expr | None:
    """What the node assigns to pat_str; None for any other node."""
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return None
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    named = any(isinstance(target, ast.Name) and target.id == _PATTERN for target in targets)
    return node.value if named else None


def _literal(node: ast.expr) -> str | None:
    """The text of a literal, or of a list of literals that a literal joins; None for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Call(
            func=ast.Attribute(value=ast.Constant(value=str(between)), attr="join"),
            args=[ast.List(elts=parts) | ast.Tuple(elts=parts)],
            keywords=[],
        ):
            texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            return between.join(texts) if len(texts) == len(parts) else None
    return None
