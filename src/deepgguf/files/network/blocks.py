"""Small reads of neighbours, by one request for all of them: what every thread of a run has read of late.

Writers of SafeTensors put tensors of the same dtype together, so a shard's scales lie side by side, far from their
weights, and every window needs a few kilobytes of them.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future

from deepgguf.files.files import FileFacts
from deepgguf.files.network.read_ahead import Precisely

SMALL = 128 << 10  # bytes; a larger read is worth a request of its own
_BLOCK = 512 << 10
_MOST = 64  # blocks

HELD = _MOST * _BLOCK
"""Bytes that are held at most."""

_Key = tuple[FileFacts, int]


class Blocks:
    """Blocks of files, each read once by whoever needs it first, as long as it is among the last that were needed."""

    def __init__(self, precisely: Precisely) -> None:
        self._precisely, self._lock = precisely, threading.Lock()
        self._held: OrderedDict[_Key, Future[memoryview]] = OrderedDict()

    def readinto(self, file: FileFacts, offset: int, view: memoryview) -> None:
        """Fills `view`, which lies within the file; errors are those of reading."""
        done = 0
        while done < len(view):
            number, start = divmod(offset + done, _BLOCK)
            block = self._block(file, number)
            part = block[start : start + len(view) - done]
            view[done : done + len(part)] = part
            done += len(part)

    def _block(self, file: FileFacts, number: int) -> memoryview:
        key = file, number
        with self._lock:
            block = self._held.get(key)
            mine = block is None
            if block is None:
                block = self._held[key] = Future()
                if len(self._held) > _MOST:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
        if mine:
            self._fill(key, block)
        return block.result()

    def _fill(self, key: _Key, block: Future[memoryview]) -> None:
        file, number = key
        start = number * _BLOCK
        data = memoryview(bytearray(min(_BLOCK, file.size - start)))
        try:
            self._precisely(file, start, data)
        except BaseException as error:
            with self._lock:
                self._held.pop(key, None)
            block.set_exception(error)
        else:
            block.set_result(data)
