"""Who may read and who may work at once, where many threads wait for a network and few processors work."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deepgguf.executors.buffers import Buffers, LentBuffers
from deepgguf.executors.growth import ROUND, SECONDS, Growth


class Turns:
    """Lets `most` threads of a process work at once, all of them if that is None; the others read ahead.

    They read `ahead` windows, and as many more as the line rewards, up to `most_ahead`. While there is work for all who
    may work, no further window is read: it would wait in memory, out of the caches.
    """

    def __init__(self, most: int | None = None, ahead: int = 1, most_ahead: int = 1) -> None:
        self._most, self._ahead, self._most_ahead = most, ahead, most_ahead
        self._lock = threading.Lock()
        self._may_read, self._may_work = threading.Condition(self._lock), threading.Condition(self._lock)
        self._reading = self._waiting = self._working = 0  # windows that come, that have come, that are worked on
        self._growth, self._round = Growth(ahead, most_ahead), _Round()
        self._own, self._free = Buffers(), list[Buffers]()

    @contextmanager
    def window(self) -> Iterator[Buffers]:
        """One window's time, from its first byte to its last piece; waits until it may be read.

        Its buffers go from hand to hand, those that were used last first: there are as many as were used at once.
        """
        if self._most is None:
            yield self._own
            return
        buffers = self._begin()
        try:
            yield buffers
        finally:
            self._free.append(buffers)

    @contextmanager
    def reading(self, nbytes: int) -> Iterator[None]:
        """The time in which a window's `nbytes` come."""
        if self._most is None:
            yield
            return
        came = False
        try:
            yield
            came = True
        finally:
            with self._lock:
                self._reading, self._waiting = self._reading - 1, self._waiting + came
                self._count(nbytes * came)
                self._may_read.notify(self._room())

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One thread's turn to work on what it has read, for which it waits."""
        if self._most is None:
            yield
            return
        with self._lock:
            most = self._most
            self._may_work.wait_for(lambda: self._working < most)
            self._waiting, self._working = self._waiting - 1, self._working + 1
            self._may_read.notify(self._room())
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1
                self._may_work.notify()

    def _begin(self) -> Buffers:
        with self._lock:
            if self._is_ahead():
                self._round = _Round()  # of a line that waits for work to be done, nobody sees how fast it is
            self._may_read.wait_for(self._room)
            self._reading += 1
            return self._free.pop() if self._free else LentBuffers()

    def _is_ahead(self) -> bool:
        """Whether there is work for all who may work."""
        return self._most is not None and self._waiting >= self._most

    def _room(self) -> int:
        """How many more windows may be read now."""
        return 0 if self._is_ahead() else max(0, self._growth.limit - self._reading - self._waiting)

    def _count(self, nbytes: int) -> None:
        self._round.windows += 1
        self._round.nbytes += nbytes
        seconds = time.monotonic() - self._round.began
        if seconds >= SECONDS and self._round.windows >= ROUND * self._growth.limit:
            self._growth, self._round = self._growth.after(self._round.nbytes / seconds), _Round()

    def __reduce__(self) -> tuple[type["Turns"], tuple[int | None, int, int]]:
        """Sent elsewhere, nobody works there yet."""
        return Turns, (self._most, self._ahead, self._most_ahead)


class _Round:
    """What came since it began."""

    def __init__(self) -> None:
        self.windows = self.nbytes = 0
        self.began = time.monotonic()
