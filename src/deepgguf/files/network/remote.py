"""Files at addresses of HTTP: where one is, its size and version, and any range of it, whatever a network does.

What a kind of server says of its files is in the modules `http` and `hub`.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple
from urllib.parse import urljoin

from deepgguf.errors import CheckpointError, DeepggufError, OutputError
from deepgguf.files.files import FileFacts, changed, gone
from deepgguf.files.network.gate import Gate
from deepgguf.files.network.http_client import Client, Exchange, Headers, origin_of
from deepgguf.files.network.network_files import Filling, NetworkFiles
from deepgguf.files.network.trouble import NOT_NOW, Tries, Trouble, status_trouble

MOVED = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 10
_NO_HEAD = (403, 405, 501)  # some servers, and addresses signed for GET only, refuse HEAD
_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})", re.ASCII)
_NO_RANGES = "the server sends whole files instead of the ranges that are asked for"
_DOWNLOAD = "download the checkpoint, and give its folder"


class Place(NamedTuple):
    """Where a file's bytes are, for as long as that address holds, and what is known of the file."""

    facts: FileFacts
    url: str


class RemoteFiles(NetworkFiles):
    """Files that HTTP requests reach."""

    def _start(self) -> None:
        """Nothing open, nothing known."""
        self._client, self._gate = Client(self._patience.stall), Gate(self.most_connections)
        self._places: dict[str, Place] = {}
        super()._start()

    @abstractmethod
    def _address(self, name: str) -> str:
        """Where to ask for a file. CheckpointError for a name that is none of the checkpoint's."""

    @abstractmethod
    def _described(self, name: str, status: int, headers: Headers) -> FileFacts | None:
        """What an answer says of a file; None if it only says where to ask on."""

    @abstractmethod
    def _refused(self, name: str, status: int, headers: Headers) -> DeepggufError:
        """The error for a file that the server does not give out."""

    def _credentials(self) -> Mapping[str, str]:
        """Headers for the host of `_address` alone."""
        return {}

    def facts(self, name: str) -> FileFacts:
        """Size and version, as the server has them now."""
        address = self._address(name)
        place = self._insistence.until_done(name, lambda _: self._located(name, address))
        with self._lock:
            self._places[name] = place
        return place.facts

    def abandon(self) -> None:
        """Ends what other threads read, too."""
        super().abandon()
        self._client.abandon()

    def close(self) -> None:
        """Closes connections, and forgets where files are."""
        self._client.close()
        super().close()

    def _fill(self, file: FileFacts, filling: Filling) -> None:
        """See `NetworkFiles._fill`."""
        self._insistence.until_done(file.name, lambda tries: self._filled(file, filling, tries))

    def _filled(self, file: FileFacts, filling: Filling, tries: Tries) -> None:
        """What is missing, by one request."""
        place = self._place(file)
        first, last = filling.span
        headers = {"Range": f"bytes={first}-{last}"}
        with self._gate.request(), self._asked("GET", file.name, place.url, headers) as exchange:
            self._check_status(file, place, exchange)
            self._check_range(file, filling, exchange)
            size = self._patience.slice
            while rest := filling.rest(size):
                began = monotonic()
                came = exchange.readinto(rest)
                if not came:
                    raise Trouble("body too short")
                filling.done += came
                self._meter.came(came)
                tries.got_on()
                size = self._patience.next_slice(size, monotonic() - began)
            if exchange.status == 206 and exchange.more:
                filling.done = 0  # whose bytes these were, nobody knows
                raise Trouble("body too long")

    def _place(self, file: FileFacts) -> Place:
        """Where the file is, asked for unless it is known. ChangedError if it is another one now, `gone` if none is."""
        with self._lock:
            place = self._places.get(file.name)
        if place is None or place.facts != file:
            try:
                place = self._located(file.name, self._address(file.name))
            except CheckpointError as error:
                raise gone(error) from None
            if place.facts != file:
                raise changed(file)
            with self._lock:
                self._places[file.name] = place
        return place

    def _located(self, name: str, url: str) -> Place:
        """Where a file is, by one round of requests."""
        method = "HEAD"
        for _ in range(_MOST_REDIRECTS):
            headers = {} if method == "HEAD" else {"Range": "bytes=0-0"}
            with self._asked(method, name, url, headers) as exchange:
                status, answer = exchange.status, exchange.headers
            if method == "HEAD" and status in _NO_HEAD:
                method = "GET"
                continue
            moved = status in MOVED and answer.get("Location", "")
            following = urljoin(url, moved) if moved else url
            self._check_scheme(name, url, following)
            if not moved and status not in (200, 206, 416):
                raise self._trouble(name, status, answer)
            facts = self._described(name, status, answer)
            if facts is not None:
                return Place(facts, following)
            if not moved and method == "GET":
                raise OutputError(name, "the server does not say how large it is", _DOWNLOAD)
            method = method if moved else "GET"  # of the first byte, whose answer has the size
            url = following
        raise OutputError(name, f"more than {_MOST_REDIRECTS} redirects", "look at the address, or try again later")

    @contextmanager
    def _asked(self, method: str, name: str, url: str, headers: Mapping[str, str]) -> Iterator[Exchange]:
        """The exchange, with credentials only if it is with the host that they are for."""
        own = self._credentials() if origin_of(url) == origin_of(self._address(name)) else {}
        with self._client.exchange(method, url, dict(own) | dict(headers)) as exchange:
            self._meter.answer()
            yield exchange

    def _trouble(self, name: str, status: int, headers: Headers) -> Exception:
        """What to raise for a status that brings nothing."""
        if status in NOT_NOW:
            return status_trouble(status, headers)
        return self._refused(name, status, headers)

    def _check_status(self, file: FileFacts, place: Place, exchange: Exchange) -> None:
        status = exchange.status
        if status in (200, 206):
            return
        if status == 416:
            raise changed(file)
        if status in NOT_NOW:
            raise status_trouble(status, exchange.headers)
        if place.url != self._address(file.name):
            # Signed addresses expire; where the file is now, its own address knows.
            with self._lock:
                self._places.pop(file.name, None)
            raise Trouble("address expired", at_once=True)
        refused = self._refused(file.name, status, exchange.headers)
        raise gone(refused) if isinstance(refused, CheckpointError) else refused

    def _check_range(self, file: FileFacts, filling: Filling, exchange: Exchange) -> None:
        """That the body is the bytes that were asked for, of the file that is meant."""
        first, last = filling.span
        compression = exchange.headers.get("Content-Encoding", "identity")
        if compression != "identity":
            found = f"the server compresses it ({compression}), though asked not to"
            raise OutputError(file.name, found, _DOWNLOAD)
        if exchange.status == 200:
            if first or exchange.length not in (None, file.size):
                raise changed(file) if not first else OutputError(file.name, _NO_RANGES, _DOWNLOAD)
        else:
            said = _RANGE.fullmatch(exchange.headers.get("Content-Range", ""))
            if said and int(said[3]) != file.size:
                raise changed(file)
            if not said or (said[1], said[2]) != (str(first), str(last)):
                raise Trouble("another range than was asked for")
            if exchange.length not in (None, last - first + 1):
                raise Trouble("another length than the range has")
        now = self._version(exchange.headers)
        if now is not None and now != file.version:
            raise changed(file)

    def _version(self, headers: Headers) -> str | None:
        """What the answer to a range says of the file's version; None if that is not comparable."""
        return None

    def _check_scheme(self, name: str, url: str, following: str) -> None:
        if origin_of(url).scheme == "https" != origin_of(following).scheme:
            raise OutputError(name, "redirected from https to http, where anyone may read and change it", _DOWNLOAD)


def described_range(headers: Headers) -> str | None:
    """The size of the file by the Content-Range of an answer; None if it does not say."""
    said = _RANGE.fullmatch(headers.get("Content-Range", ""))
    return said[3] if said else None
