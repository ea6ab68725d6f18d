"""The command line: arguments in, calls of the library, tables and JSON out. Everything heavy is imported when used."""

TYPE_CHECKING = False  # as in the package: what is imported here is imported before signals are handled

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Runs the command line; returns the exit status."""
    try:
        from deepgguf.cli.signals import end_at_once, on_signals

        on_signals(end_at_once)
    except KeyboardInterrupt:  # Python's own handling of SIGINT, which prints a traceback
        return 130
    from deepgguf.cli.program import run

    return run(arguments)
