"""What was read over a network: counted while it happens, told afterwards."""

import threading
from collections import Counter

import msgspec


class Traffic(msgspec.Struct, frozen=True):
    """Requests that were answered, bytes that came, and what went wrong how often and was tried again."""

    requests: int
    nbytes: int
    repeated: dict[str, int]


class Meter:
    """Counts, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._nbytes = 0
        self._repeated: Counter[str] = Counter()

    @property
    def answered(self) -> bool:
        """Whether any request was."""
        return self._requests > 0

    def answer(self) -> None:
        """A request was answered, whatever the answer."""
        with self._lock:
            self._requests += 1

    def came(self, nbytes: int) -> None:
        """Bytes of a body came."""
        with self._lock:
            self._nbytes += nbytes

    def repeated(self, why: str) -> None:
        """A request is sent again."""
        with self._lock:
            self._repeated[why] += 1

    def traffic(self) -> Traffic:
        """All so far."""
        with self._lock:
            return Traffic(self._requests, self._nbytes, dict(self._repeated))
