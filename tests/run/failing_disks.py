"""Disks on which the k-th call that writes goes wrong."""

import errno
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from deepgguf.run.disk import Disk


class _CountingDisk(Disk):
    def __init__(self, at: int) -> None:
        self.calls, self._at, self._lock = 0, at, threading.Lock()

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        with self._lock:
            self.calls += 1
            if self.calls == self._at:
                self.happen()
        return function(*args)

    def happen(self) -> None:
        """What goes wrong at call number `at`, counted from 1; here nothing."""


class FailingDisk(_CountingDisk):
    """The call fails, once."""

    def __init__(self, at: int, number: int = errno.ENOSPC) -> None:
        super().__init__(at)
        self._number = number

    def happen(self) -> None:
        raise OSError(self._number, os.strerror(self._number))


class InterruptingDisk(_CountingDisk):
    """A signal handler raises when the call has been made."""

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        with self._lock:
            self.calls += 1
            last = self.calls == self._at
        done = function(*args)
        if last:
            raise KeyboardInterrupt
        return done


class KillingDisk(_CountingDisk):
    """The process is killed before the call."""

    def happen(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
