"""What budgets lose beside llama-quantize's mixtures of at most as many bytes, on two samples: a table.

python benchmarks/budgets.py
"""

import tempfile
from pathlib import Path

from deepgguf import sample
from deepgguf.checkpoint.checkpoint import Checkpoint, read_checkpoint
from deepgguf.choices import Choices, complete
from deepgguf.executors.threads import Threads, available_processors
from deepgguf.files.find import find_files
from deepgguf.fitting.fit import Fitted, fit
from deepgguf.planning.parse_options import parse_options

MATRICES = Path(__file__).parent.parent / "tests" / "goldens" / "imatrix"
BUDGETS = {
    ("v3", "v3-bf16"): (1_560_000, 2_300_000, 3_000_000),
    ("v2-lite", "v2-lite"): (2_600_000, 3_600_000, 5_000_000),
}


def main() -> None:
    """Prints one line for each sample and budget."""
    print("| sample | budget | noise to signal | squares | least noise of a mixture | least squares of a mixture |")
    print("|---|---|---|---|---|---|")
    for (kind, name), budgets in BUDGETS.items():
        with tempfile.TemporaryDirectory() as folder:
            sample(kind, Path(folder) / name)
            with find_files(Path(folder) / name) as files:
                checkpoint = read_checkpoint(files)
                for budget in budgets:
                    print(line(name, budget, fitted(checkpoint, name, budget)))


def fitted(checkpoint: Checkpoint, name: str, budget: int) -> Fitted:
    """What the budget chooses by the sample's importance matrix."""
    chosen = {"budget": budget, "target": "llama.cpp", "imatrix": MATRICES / f"imatrix-{name}.gguf"}
    options = parse_options(complete(chosen, Choices))
    return fit(checkpoint, options, budget, Threads(available_processors()))


def line(name: str, budget: int, found: Fitted) -> str:
    """A line of the table."""
    fitting = {mixture: one for mixture, one in found.mixtures.items() if one.size <= budget}
    error = min(fitting, key=lambda mixture: fitting[mixture].error)
    squares = min(fitting, key=lambda mixture: fitting[mixture].squares)
    return (
        f"| {name} | {budget:,} | {found.error:.4g} | {found.squares:.4g} "
        f"| {fitting[error].error:.4g} ({error}) | {fitting[squares].squares:.4g} ({squares}) |"
    )


if __name__ == "__main__":
    main()
