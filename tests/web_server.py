"""A web server that speaks as the Hugging Face Hub does, and as any server of files; it misbehaves on command.

/FOLDER/FILE                                the file, with an entity tag and ranges
/api/models/ORG/NAME[/revision/REVISION]   the Hub's listing
/ORG/NAME/resolve/COMMIT/FILE              the file (small ones), or a redirect to the other host, where it has a
                                           signed address: /blob/FILE?signature=N
"""

import contextlib
import hashlib
import http.server
import json
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

MODEL, COMMIT, MAIN = "deepseek-ai/DeepSeek-V3", "0123456789abcdef0123456789abcdef01234567", "main"
TOKEN = "hf_of_a_test"


class Asked(NamedTuple):
    """A request that came: at the Hub's host or at the other one."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str]


class Content:
    """A file's bytes, in memory or on disk."""

    def __init__(self, held: bytes | Path) -> None:
        self.held = held
        self.size = len(held) if isinstance(held, bytes) else held.stat().st_size
        said = held if isinstance(held, bytes) else f"{held} {self.size} {held.stat().st_mtime_ns}".encode()
        self.tag = hashlib.sha256(said).hexdigest()

    def read(self, start: int, nbytes: int) -> bytes:
        if isinstance(self.held, bytes):
            return self.held[start : start + nbytes]
        fd = os.open(self.held, os.O_RDONLY)
        try:
            return os.pread(fd, nbytes, start)
        finally:
            os.close(fd)


Accident = Callable[["_Handler", Content, int, int], bool]
"""(handler, content, first byte, bytes) -> whether it has answered."""


class Web:
    """Both hosts, each a port of this machine. `accidents` happen to one request for a shard's bytes after the other."""

    def __init__(
        self, files: Mapping[str, bytes | Path], certificate: Path | None = None, folder: str = "plain"
    ) -> None:
        self.files = {name: Content(held) for name, held in files.items()}
        self.listed: list[str] | None = None
        self.folder = folder
        self.commits = [COMMIT]
        self.listing: bytes | None = None
        self.moved = ""
        self.accidents: list[Accident] = []
        self.everywhere = False
        self.signature, self.private, self.gated, self.delay = 1, False, False, 0.0
        self.log: list[Asked] = []
        self.sent: Counter[str] = Counter()
        self.lock, self.released = threading.Lock(), threading.Event()
        self._servers = [_Server(self, "hub"), _Server(self, "other")]
        self.scheme = "http"
        if certificate:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            for server in self._servers:
                server.socket = context.wrap_socket(server.socket, server_side=True)

    def __enter__(self) -> "Web":
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def host(self, which: str = "hub") -> str:
        server = self._servers[which == "other"]
        return f"{self.scheme}://127.0.0.1:{server.server_address[1]}"

    @property
    def plain(self) -> str:
        return f"{self.host()}/{self.folder}/"

    def put(self, name: str, content: bytes) -> None:
        self.files[name] = Content(content)

    def happens(self, accident: Accident, times: int = 1) -> None:
        """To the next requests for bytes of a shard."""
        self.accidents += [accident] * times

    def next_accident(self, name: str) -> Accident | None:
        with self.lock:
            return self.accidents.pop(0) if self.accidents and (self.everywhere or ".safetensors" in name) else None

    def ranges(self) -> list[Asked]:
        return [asked for asked in self.log if asked.method == "GET" and "Range" in asked.headers]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, web: Web, host: str) -> None:
        self.web, self.host = web, host
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go are what the tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""

    @property
    def web(self) -> Web:
        return self.server.web

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        web, parts = self.web, urlsplit(self.path)
        path = unquote(parts.path)
        with web.lock:
            web.log.append(
                Asked(
                    self.server.host,
                    self.command,
                    self.path,
                    {name.title(): value for name, value in self.headers.items()},
                )
            )
        if web.delay:
            time.sleep(web.delay)
        plain = re.fullmatch(rf"/{web.folder}/(.+)", path)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        resolved = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        blob = re.fullmatch(r"/blob/(.+)", path)
        if plain and web.moved:
            self.answer(302, {"Location": f"{web.moved}{plain[1]}"})
        elif plain and self.server.host == "hub":
            self.give(plain[1])
        elif api:
            self.list(api[1], api[2] or MAIN)
        elif resolved:
            self.resolve(resolved[1], resolved[2], resolved[3])
        elif blob and self.server.host == "other":
            self.give(blob[1], f"signature={web.signature}" == parts.query)
        else:
            self.answer(404)

    def list(self, model: str, revision: str) -> None:
        web = self.web
        if model != MODEL:
            return self.answer(404, {"X-Error-Code": "RepoNotFound"})
        if web.private and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"X-Error-Code": "RepoNotFound"})
        if revision not in (MAIN, *web.commits):
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        commit = web.commits[-1] if revision == MAIN else revision
        names = web.files if web.listed is None else web.listed
        listing = {"id": MODEL, "sha": commit, "siblings": [{"rfilename": name} for name in names]}
        body = web.listing or json.dumps(listing).encode()
        return self.answer(200, {"Content-Type": "application/json"}, body)

    def resolve(self, model: str, commit: str, name: str) -> None:
        web = self.web
        if web.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(403 if "Authorization" in self.headers else 401, {"X-Error-Code": "GatedRepo"})
        content = web.files.get(name)
        if content is None or model != MODEL or commit not in web.commits:
            return self.answer(404, {"X-Error-Code": "EntryNotFound"})
        if not name.endswith(".safetensors"):
            return self.give(name)
        linked = {"X-Linked-Size": str(content.size), "X-Linked-ETag": f'"{content.tag}"', "X-Repo-Commit": commit}
        where = f"{web.host('other')}/blob/{name}?signature={web.signature}"
        return self.answer(302, {"Location": where, **linked})

    def give(self, name: str, allowed: bool = True) -> None:
        """A file or a range of it."""
        content = self.web.files.get(name)
        if content is None or not allowed:
            return self.answer(403 if content else 404)
        said = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(said[1]), min(int(said[2]), content.size - 1)) if said else (0, content.size - 1)
        if said and first >= content.size:
            return self.answer(416, {"Content-Range": f"bytes */{content.size}"})
        accident = self.web.next_accident(name) if self.command == "GET" else None
        if accident and accident(self, content, first, last - first + 1):
            return None
        headers = {"ETag": f'"{content.tag}"', "Accept-Ranges": "bytes"}
        if said:
            headers["Content-Range"] = f"bytes {first}-{last}/{content.size}"
        self.begin(206 if said else 200, headers, last - first + 1)
        return self.send(content, first, last - first + 1) if self.command == "GET" else None

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self.begin(status, headers or {}, len(body))
        if self.command == "GET":
            self.wfile.write(body)

    def begin(self, status: int, headers: Mapping[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, content: Content, start: int, nbytes: int) -> None:
        while nbytes:
            data = content.read(start, min(nbytes, 1 << 20))
            self.wfile.write(data)
            with self.web.lock:
                self.web.sent["bytes"] += len(data)
            start, nbytes = start + len(data), nbytes - len(data)

    def partial(self, content: Content, first: int, nbytes: int) -> dict[str, str]:
        last = first + nbytes - 1
        return {"ETag": f'"{content.tag}"', "Content-Range": f"bytes {first}-{last}/{content.size}"}

    def reset(self) -> None:
        """Ends the connection as a crashed server does."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def ignores_the_range(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.begin(200, {"ETag": f'"{content.tag}"'}, content.size)
    with contextlib.suppress(OSError):
        handler.send(content, 0, content.size)
    return True


def gives_another_range(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.begin(206, handler.partial(content, first + 1, nbytes), nbytes)
    handler.send(content, first, nbytes)
    return True


def says_no_range(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.begin(206, {"Content-Range": "bytes=?"}, nbytes)
    handler.send(content, first, nbytes)
    return True


def breaks_off(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.begin(206, handler.partial(content, first, nbytes), nbytes)
    handler.send(content, first, nbytes // 2)
    handler.close_connection = True
    return True


def gives_fewer(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.begin(206, handler.partial(content, first, nbytes), nbytes - 1)
    handler.send(content, first, nbytes - 1)
    return True


def gives_more(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.begin(206, handler.partial(content, first, nbytes), nbytes + 3)
    handler.wfile.write(content.read(first, nbytes) + b"abc")
    return True


def gives_more_in_chunks(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.send_response(206)
    for name, value in {"Transfer-Encoding": "chunked", **handler.partial(content, first, nbytes)}.items():
        handler.send_header(name, value)
    handler.end_headers()
    data = content.read(first, nbytes) + b"abc"
    handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n")
    return True


def compresses(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.begin(206, handler.partial(content, first, nbytes) | {"Content-Encoding": "gzip"}, nbytes)
    handler.send(content, first, nbytes)
    return True


def resets(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.begin(206, handler.partial(content, first, nbytes), nbytes)
    handler.send(content, first, nbytes // 3)
    handler.reset()
    return True


def hangs_up(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.close_connection = True
    return True


def stalls(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    """Says nothing more, without an error."""
    handler.begin(206, handler.partial(content, first, nbytes), nbytes)
    handler.send(content, first, nbytes // 3)
    handler.web.released.wait(60)
    handler.close_connection = True
    return True


def drips(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    """A byte now and then."""
    handler.begin(206, handler.partial(content, first, nbytes), nbytes)
    with contextlib.suppress(OSError):
        for place in range(first, first + nbytes):
            handler.send(content, place, 1)
            if handler.web.released.wait(0.02):
                break
    handler.close_connection = True
    return True


def speaks_no_http(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    handler.close_connection = True
    return True


def status(number: int, headers: Mapping[str, str] | None = None) -> Accident:
    def answers(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
        handler.answer(number, headers or {}, b"not now")
        return True

    return answers


def expires(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    """Every signed address is of yesterday from now on, this one too."""
    handler.web.signature += 1
    handler.answer(403)
    return True


def is_replaced(handler: _Handler, content: Content, first: int, nbytes: int) -> bool:
    """Another file of the same size is there from now on."""
    name = next(name for name, held in handler.web.files.items() if held is content)
    handler.web.put(name, content.read(0, content.size)[::-1])
    handler.give(name)
    return True


@contextlib.contextmanager
def web_of(place: Path, **how: Any) -> Iterator[Web]:
    """A server of the files in a folder."""
    files: dict[str, bytes | Path] = {
        str(path.relative_to(place)): path for path in sorted(place.rglob("*")) if path.is_file()
    }
    with Web(files, **how) as web:
        yield web


def speak_for_the_hub(patch: pytest.MonkeyPatch, web: Web, cache: object = None) -> None:
    """Has huggingface_hub ask `web`, and look into the cache `cache`, if that is given."""
    patch.setattr("huggingface_hub.constants.ENDPOINT", web.host())
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    if cache is not None:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
