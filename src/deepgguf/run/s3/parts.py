"""The parts of an upload: the same ranges of the file in every run, filled in any order, uploaded when whole."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from deepgguf.errors import OutputError
from deepgguf.planning.ahead import windows_ahead
from deepgguf.planning.joint import Planned
from deepgguf.planning.schema import PlannedFile
from deepgguf.run.part_file import planned_header
from deepgguf.run.s3.bucket import CONNECTIONS, Bucket

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: at most 10,000 parts, all but the last of 5 MiB.
_MOST_PARTS = 10_000
_PART = 8 << 20
_STEP = 1 << 20
_OPEN = 3  # parts that a job has begun: at both ends of its window, and the one it is at


def part_bytes(size: int) -> int:
    """How long the parts of a file of `size` bytes are; it follows from the size, so that any run cuts alike."""
    least = -(-size // _MOST_PARTS)
    return max(_PART, -(-least // _STEP) * _STEP)


def memory_of_uploads(plan: Planned, jobs: int) -> int:
    """Bytes that parts take at most while `jobs` threads fill them."""
    threads = jobs + windows_ahead(plan)
    return (_OPEN * threads + 2 * CONNECTIONS) * max(part_bytes(file.size) for file in plan.files)


class Uploads:
    """The connections that all files of a run share; who has a part to upload waits until one is free."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="deepgguf-upload")
        self._free = threading.BoundedSemaphore(CONNECTIONS)

    def put(self, parts: "Parts", number: int, content: bytearray) -> "Future[None]":
        """Has the part uploaded."""
        self._free.acquire()
        try:
            return self._pool.submit(self._put, parts, number, content)
        except BaseException:
            self._free.release()
            raise

    def _put(self, parts: "Parts", number: int, content: bytearray) -> None:
        try:
            parts.send(number, content)
        finally:
            self._free.release()

    def close(self) -> None:
        """Waits for what is under way; again is harmless."""
        self._pool.shutdown(cancel_futures=True)


class Target(NamedTuple):
    """An upload: the object's key, and the upload's own name."""

    key: str
    upload: str


class Layout(NamedTuple):
    """What there is to know of a file to cut it into parts: its size, theirs, its header, their bytes of tensors."""

    size: int
    nbytes: int
    header: bytes
    data: Mapping[int, int]

    @classmethod
    def of(cls, file: PlannedFile) -> "Layout":
        """That of a planned file."""
        nbytes = part_bytes(file.size)
        return cls(file.size, nbytes, planned_header(file), _data_bytes(file, nbytes))


class Parts:
    """The parts of one file; a writer for any thread of this process."""

    def __init__(self, uploads: Uploads, target: Target, layout: Layout, uploaded: Mapping[int, str]) -> None:
        """`uploaded`: the tags of the parts that are there already."""
        self._uploads, self._target, self._size = uploads, target, layout.size
        self.nbytes = layout.nbytes
        self._header = layout.header
        self._lock = threading.Lock()  # guards what follows
        self._missing = dict(layout.data)
        self._without_data = [number for number, count in self._missing.items() if not count]
        self._begun: dict[int, bytearray] = {}
        self._tags = dict(uploaded)
        self._under_way: set[Future[None]] = set()
        self._failure: BaseException | None = None

    @property
    def tags(self) -> dict[int, str]:
        """The tags of the parts that are uploaded, by number."""
        with self._lock:
            return dict(self._tags)

    @property
    def uploaded(self) -> int:
        """How many parts are uploaded."""
        return len(self._tags)

    def take(self, tags: Mapping[int, str]) -> None:
        """Parts that others have uploaded."""
        with self._lock:
            self._tags |= tags

    def write(self, data: memoryview, offset: int) -> None:
        """`data` at byte `offset` of the file; OutputError if an upload has failed.

        What belongs to parts that are there already is left out: it is the same.
        """
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        for number in self.numbers(offset, offset + len(view)):
            whole = self._fill(number, view, offset)
            if whole is not None:
                self._put(number, whole)

    def numbers(self, start: int, stop: int) -> range:
        """The parts that hold the bytes of the file from `start` to `stop`; they count from 1."""
        if start == stop:
            return range(0)
        return range(start // self.nbytes + 1, -(-stop // self.nbytes) + 1)

    def holds(self, start: int, stop: int) -> bool:
        """Whether every part of that range is uploaded."""
        with self._lock:
            return all(number in self._tags for number in self.numbers(start, stop))

    def size_of(self, number: int) -> int:
        """The length of a part."""
        return min(self.nbytes, self._size - (number - 1) * self.nbytes)

    def finish(self) -> None:
        """Uploads the parts without tensors, and waits until every part is there. OutputError if one is not."""
        for number in self._without_data:
            if number not in self.tags:
                self._put(number, self._empty(number))
        left = self._missing.keys() - self.settled().keys()
        if left:
            found = f"{len(left)} of {len(self._missing)} parts were not uploaded"
            raise OutputError(self._target.key, found, "run again with `resume=True`")

    def settled(self) -> dict[int, str]:
        """The tags of the parts that are uploaded, when none is under way any more. OutputError if one failed."""
        self.drain()
        self._raise_failure()
        return self.tags

    def drain(self) -> None:
        """Waits for what is under way, whatever becomes of it."""
        with self._lock:
            under_way = set(self._under_way)
        wait(under_way)

    def send(self, number: int, content: bytearray) -> None:
        """Uploads a part; for `Uploads`."""
        try:
            tag = self._uploads.bucket.put_part(*self._target, number, content)
        except BaseException as error:
            self._failure = error
            raise
        with self._lock:
            self._tags[number] = tag

    def close(self) -> None:
        """Nothing: what is under way goes on."""

    def _put(self, number: int, content: bytearray) -> None:
        self._raise_failure()
        sent = self._uploads.put(self, number, content)
        with self._lock:
            self._under_way = {future for future in self._under_way if not future.done()} | {sent}

    def _raise_failure(self) -> None:
        if isinstance(self._failure, OutputError):  # every thread that meets it has an error of its own
            raise OutputError(*self._failure.args)
        if self._failure:
            raise self._failure

    def _fill(self, number: int, view: memoryview, offset: int) -> bytearray | None:
        """Puts what of `view` belongs to the part into it; returns the part if that was its last, for the caller."""
        start = (number - 1) * self.nbytes
        first, last = max(start, offset), min(start + self.nbytes, offset + len(view))
        with self._lock:
            if number in self._tags:
                return None
            part = self._begun.get(number)
            if part is None:
                part = self._begun[number] = self._empty(number)
            part[first - start : last - start] = view[first - offset : last - offset]
            self._missing[number] -= last - first
            return None if self._missing[number] else self._begun.pop(number)

    def _empty(self, number: int) -> bytearray:
        """A part without its tensors: header, and zeros."""
        start = (number - 1) * self.nbytes
        header = self._header[start : start + self.nbytes]
        part = bytearray(self.size_of(number))
        part[: len(header)] = header
        return part


def _data_bytes(file: PlannedFile, nbytes: int) -> dict[int, int]:
    """How many bytes of tensors every part has."""
    counts = dict.fromkeys(range(1, -(-file.size // nbytes) + 1), 0)
    for tensor in file.tensors:
        start = file.data_offset + tensor.info.offset
        stop = start + tensor.info.nbytes
        for number in range(start // nbytes + 1, -(-stop // nbytes) + 1):
            counts[number] += min(stop, number * nbytes) - max(start, (number - 1) * nbytes)
    return counts
