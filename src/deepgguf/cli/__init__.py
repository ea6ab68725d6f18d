"""The command line: arguments in, calls of the library, tables and JSON out. Everything heavy is imported when used."""

from collections.abc import Sequence

from deepgguf.cli.signals import end_at_once, on_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    on_signals(end_at_once)  # before the imports: for as long as they take, Python would print a traceback
    from deepgguf.cli.program import run

    return run(arguments)
