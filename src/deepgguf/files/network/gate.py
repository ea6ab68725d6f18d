"""How many requests are on their way at once: what the server bears."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from deepgguf.files.network.trouble import Trouble


class Gate:
    """Lets `most` requests be on their way: half as many as there are when one was too much for the server, and one
    more after each that went well.
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
        crowded = went_well = False
        try:
            yield
            went_well = True
        except Trouble as trouble:
            crowded = trouble.crowded
            raise
        finally:
            with self._changed:
                if crowded:
                    self.limit = max(1, min(self.limit, self._inside) // 2)
                self.limit = min(self._most, self.limit + went_well)
                self._inside -= 1
                self._changed.notify_all()
