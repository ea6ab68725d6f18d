"""How many requests are on their way at once: what the server bears."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from deepgguf.files.network.trouble import Trouble


class Gate:
    """Lets `most` requests be on their way: half as many after one that was too much for the server, and one more after
    each that went well.
    """

    def __init__(self, most: int) -> None:
        self._most = self.limit = most
        self._inside, self._changed = 0, threading.Condition()

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request's time, for which it waits; errors go through."""
        with self._changed:
            self._changed.wait_for(lambda: self._inside < self.limit)
            self._inside += 1
        change = 0
        try:
            yield
            change = 1
        except Trouble as trouble:
            change = -(self.limit // 2) if trouble.crowded else 0
            raise
        finally:
            with self._changed:
                self._inside -= 1
                self.limit = max(1, min(self._most, self.limit + change))
                self._changed.notify_all()
