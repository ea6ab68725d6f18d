"""Files that a network reaches, by any protocol: how much is asked for at once, again and ahead, and what is kept."""

import os
import threading
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepgguf.files.files import Buffer, FileFacts, Files, ReadByNumber, changed, flat
from deepgguf.files.network.blocks import HELD, SMALL, Blocks
from deepgguf.files.network.kept import Keeper
from deepgguf.files.network.patience import PATIENCE, Patience
from deepgguf.files.network.read_ahead import ReadAhead
from deepgguf.files.network.trouble import Insistence
from deepgguf.files.traffic import Meter, Traffic


class Filling:
    """A buffer, and how far it has been filled with a file's bytes from `offset`."""

    def __init__(self, view: memoryview, offset: int) -> None:
        self._view, self._offset, self.done = view, offset, 0

    @property
    def span(self) -> tuple[int, int]:
        """First and last byte of the file that are missing."""
        return self._offset + self.done, self._offset + len(self._view) - 1

    def rest(self, most: int) -> memoryview:
        """What is not yet filled, `most` bytes of it."""
        return self._view[self.done : self.done + most]


class NetworkFiles(Files):
    """Files that are read by requests, 8 at a time besides those that are worked on, and more where that is faster.

    Nothing of them is kept on this machine, unless `keep_in` says where.
    """

    whole_windows = True
    connections = 8
    most_connections = 32
    held = HELD

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or PATIENCE
        self._meter, self._lock = Meter(), threading.Lock()
        self._insistence = Insistence(self._patience, self._meter)
        self._cache: str | None = None
        self._keeper: Keeper | None = None
        self._start()

    def _start(self) -> None:
        """Nothing open, nothing known."""
        self._ahead, self._blocks = ReadAhead(self._precisely), Blocks(self._precisely)
        self._insistence.resume()

    @abstractmethod
    def _kept_as(self) -> tuple[str, str]:
        """By which names of a model and a commit what was read is kept."""

    @abstractmethod
    def _fill(self, file: FileFacts, filling: Filling) -> None:
        """Fills a buffer, by as many requests as it takes; errors as for `Files.readinto`."""

    @property
    def traffic(self) -> Traffic:
        """What was read so far."""
        return self._meter.traffic()

    def readinto(self, file: FileFacts, offset: int, buffer: Buffer) -> None:
        """Reads these bytes and no other by one request, unless they are few; as many as it takes if it breaks off."""
        view = flat(buffer)
        if len(view) < SMALL and offset + len(view) <= file.size:
            self._blocks.readinto(file, offset, view)
        else:
            self._precisely(file, offset, view)

    def read(self, file: FileFacts, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """As `Files.read`; of what is read in order, more and more is read ahead."""
        buffer = np.empty(nbytes, np.uint8)
        self._ahead.readinto(file, offset, flat(buffer))
        return buffer

    def by_number(self, numbered: Sequence[FileFacts]) -> ReadByNumber:
        """As `Files.by_number`, and as `read`."""
        return lambda number, offset, buffer: self._ahead.readinto(numbered[number], offset, flat(buffer))

    def keep_in(self, folder: str | os.PathLike[str]) -> None:
        """See `Files.keep_in`."""
        self.__setstate__(os.fspath(folder))

    def __setstate__(self, cache: str | None) -> None:
        """Where to keep what is read; arrived elsewhere, it keeps it there."""
        self._cache = cache
        self._keeper = Keeper(cache, *self._kept_as()) if cache else None

    def abandon(self) -> None:
        """Ends what other threads wait for."""
        self._insistence.abandon()

    def close(self) -> None:
        """Closes what is open, and forgets what was read."""
        if self._keeper:
            self._keeper.close()
        self._start()

    def _precisely(self, file: FileFacts, offset: int, view: memoryview) -> None:
        if offset + len(view) > file.size:
            raise changed(file)
        if not view or (self._keeper and self._keeper.read(file, offset, view)):
            return
        self._fill(file, Filling(view, offset))
        if self._keeper:
            self._keeper.keep(file, offset, view)
