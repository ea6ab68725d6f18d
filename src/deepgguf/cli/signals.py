"""The signals that end a command, before there is anything to put in order and while there is."""

import os
import signal
from collections.abc import Callable
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal that ends the run, once the workers have finished their pieces."""

    def __init__(self, number: int) -> None:
        self.number = number


def on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Has `handler` called. What the caller ignores stays ignored: nohup's SIGHUP, a background job's SIGINT."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def stop(number: int, frame: FrameType | None) -> None:
    """Raises Stopped, once: what follows puts things in order, and is not to be stopped in the middle."""
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Ends the process. An exception would be lost in some imports, and become another error in others."""
    try:
        os.write(2, f"deepgguf: {signal.Signals(number).name}: stopped\n".encode())
    finally:
        os._exit(128 + number)
