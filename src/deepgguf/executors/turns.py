"""How many may work at once, where more of them wait for what they work on."""

import threading
from contextlib import AbstractContextManager, nullcontext


class Turns:
    """Lets `most` threads of a process work at once; all of them if that is None."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._turn: AbstractContextManager[object] = nullcontext() if most is None else threading.Semaphore(most)

    def turn(self) -> AbstractContextManager[object]:
        """One thread's turn to work, for which it waits."""
        return self._turn

    def __reduce__(self) -> tuple[type["Turns"], tuple[int | None]]:
        """Sent elsewhere, nobody works there yet."""
        return Turns, (self._most,)
