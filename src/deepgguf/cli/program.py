"""A command from its arguments to its exit status, whatever goes wrong or comes between."""

from collections.abc import Callable, Sequence

from deepgguf.cli.arguments import parse
from deepgguf.cli.endings import ending
from deepgguf.cli.output import complain, open_streams, to_stderr, to_stdout
from deepgguf.cli.signals import Stopped, end_at_once, on_signals, stop


def run(arguments: Sequence[str] | None) -> int:
    """Carries out the command; returns the exit status."""
    open_streams()
    try:
        try:
            return _carry_out(arguments)
        finally:
            on_signals(end_at_once)  # so that none comes between the handlers below
    except (Exception, Stopped) as error:
        status, text = ending(error)
        if text is not None:
            complain(text)
        return status


def _carry_out(arguments: Sequence[str] | None) -> int:
    try:
        options = parse(arguments)
    except SystemExit as ended:  # what argparse says is still to be flushed: wrong usage, or help
        (to_stderr if ended.code else to_stdout)("")
        return int(ended.code or 0)
    # What commands need; until it is there, a signal ends the process.
    from deepgguf.api import conversion, gguf_files, ollama, proof, quantization, samples  # noqa: F401

    on_signals(stop)
    command: Callable[..., None] = options.run
    command(options)
    return 0
