"""How long the command line and the library take to start: medians of alternating runs, beside NumPy and Python alone.

python benchmarks/startup.py [--runs 21]
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import deepgguf": ["-c", "import deepgguf"],
    "deepgguf.convert, and with it NumPy": ["-c", "import deepgguf; deepgguf.convert"],
    "deepgguf --help": ["-m", "deepgguf", "--help"],
    "deepgguf --version": ["-m", "deepgguf", "--version"],
}


def seconds(arguments: list[str]) -> float:
    """How long a new Python takes for these arguments."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Prints a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21)
    runs = parser.parse_args().runs
    found = [{name: seconds(arguments) for name, arguments in COMMANDS.items()} for _ in range(runs)]
    for name in COMMANDS:
        each = [run[name] for run in found]
        print(f"{name:36} {statistics.median(each):.3f} s  ({min(each):.3f} - {max(each):.3f})")


if __name__ == "__main__":
    main()
