"""A command from its arguments to its exit status, whatever goes wrong or comes between."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from deepgguf.cli.arguments import parse
from deepgguf.cli.endings import Stopped, ending
from deepgguf.cli.output import complain

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = parse(arguments)
    for number in _SIGNALS:
        signal.signal(number, _stop)
    run: Callable[..., None] = options.run
    try:
        run(options)
        sys.stdout.flush()
        return 0
    except (Exception, Stopped) as error:
        status, text = ending(error)
        if text is None:  # nobody reads standard output any more: nothing may try to write to it when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            complain(text)
        return status


def _stop(number: int, frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)
