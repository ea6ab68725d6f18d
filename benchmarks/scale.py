"""How long DeepSeek-V4-Pro to IQ2_XXS takes on so many nodes, on paper: docs/cluster.md's table.

usage: scale.py

Reading, making and writing go on at once, so the slowest of them, or the coordinator, is the time. The inputs stand
here: the model's from `deepgguf plan` of `deepgguf sample v4 --size pro --sparse`, the speeds from docs/speed.md and
benchmarks/coordinator.py, those of the network and the stores are assumptions. Change what is different for you.
"""

from typing import NamedTuple


class Model(NamedTuple):
    """Bytes to read, weights to make, bytes to write, pieces."""

    source: float
    weights: float
    output: float
    pieces: float


class Speeds(NamedTuple):
    """Of a node: its cores, weights a second of one, bytes a second of its line. Of what all share: bytes a second.

    `piece` is what one costs the coordinator, in seconds; `start` is for the plan, the first window and the last sync.
    """

    cores: int
    core: float
    line: float
    source: float
    sink: float
    piece: float
    start: float


V4_PRO = Model(source=865e9, weights=1.573e12, output=409e9, pieces=3.07e6)
MEASURED = Speeds(cores=16, core=35.0e6, line=3.1e9, source=20e9, sink=10e9, piece=7.5e-6, start=10)
NODES = (1, 4, 16, 64)


def seconds(model: Model, speeds: Speeds, nodes: int) -> dict[str, float]:
    """What each would take if it were alone."""
    return {
        "source": model.source / min(nodes * speeds.line, speeds.source),
        "cores": model.weights / (nodes * speeds.cores * speeds.core),
        "sink": model.output / min(nodes * speeds.line, speeds.sink),
        "coordinator": model.pieces * speeds.piece,
    }


def line(nodes: int) -> str:
    """A line of the table."""
    each = seconds(V4_PRO, MEASURED, nodes)
    limit = max(each, key=lambda name: each[name])
    cells = " | ".join(f"{value:,.0f} s" for value in each.values())
    return f"| {nodes} | {cells} | {limit} | {spoken(each[limit] + MEASURED.start)} |"


def spoken(time: float) -> str:
    """Seconds, or minutes where there are many."""
    return f"{time / 60:.0f} minutes" if time >= 120 else f"{time:.0f} s"


def main() -> None:
    """Prints the table."""
    print("| nodes | source | cores | sink | coordinator | bottleneck | in all |")
    print("|---|---|---|---|---|---|---|")
    for nodes in NODES:
        print(line(nodes))


if __name__ == "__main__":
    main()
