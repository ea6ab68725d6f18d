"""Compares the kernels with ggml on many random blocks, to the bit, at every level of this machine.

    python tests/kernels/compare_with_ggml.py [--blocks N] [--types Q4_K,...] [--seed N]

Prints for each type and level how many blocks were compared, without and with importance, and how many differ; exits
with 1 if any does.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from ggml import ASSERTING, ggml_quantize, ggml_quantize_or_die
from numpy.typing import NDArray
from ours import quantizable, quantize
from rows import IMPORTANCES, MAKERS, make_importance, make_rows

from deepgguf import kernels
from deepgguf.formats.gguf.types import GGMLType, block_of

COLUMNS = 1024


def differing(type: GGMLType, ours: NDArray[np.uint8], ggmls: NDArray[np.uint8]) -> int:
    """How many blocks are not the same bytes."""
    return int((ours != ggmls).reshape(-1, block_of(type).nbytes).any(axis=1).sum())


def compare(type: GGMLType, blocks: int, seed: int, weighted: bool) -> dict[str, int]:
    """Blocks that differ, by level, among at least `blocks`: half of them normal, the others of all other kinds."""
    levels = kernels.levels()
    found = dict.fromkeys(levels, 0)
    kinds, importances = [*["normal"] * len(MAKERS), *MAKERS], list(IMPORTANCES)
    rows = -(-blocks // (len(kinds) * COLUMNS // block_of(type).weights))
    for i, kind in enumerate(kinds):
        weights = make_rows(kind, seed + i, rows, COLUMNS)
        for part, chunk in enumerate(np.array_split(weights, len(importances))):
            importance = make_importance(importances[part], seed + i, COLUMNS) if weighted else None
            for some, expected in references(type, chunk, importance):
                for level in levels:
                    kernels.select(level)
                    found[level] += differing(type, quantize(type, some, importance), expected)
    return found


def references(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Rows and ggml's blocks of them, without those that ggml ends itself at."""
    expected = (ggml_quantize_or_die if type in ASSERTING else ggml_quantize)(type, rows, importance)
    if expected is not None:
        yield rows, expected
    elif len(rows) > 1:
        for half in np.array_split(rows, 2):
            yield from references(type, half, importance)


def main() -> int:
    """Reads the arguments, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=1_000_000, help="blocks per type, without and with importance")
    parser.add_argument("--types", default=",".join(t.name for t in quantizable()))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    wrong = 0
    for name in args.types.split(","):
        for weighted in (False, True):
            if not weighted and GGMLType[name] not in quantizable(importance=False):
                continue
            found = compare(GGMLType[name], args.blocks, args.seed, weighted)
            wrong += sum(found.values())
            counts = ", ".join(f"{level} {count}" for level, count in found.items())
            importance = "with importance   " if weighted else "without importance"
            print(f"{name:7} {importance}  {args.blocks} blocks, differing: {counts}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
