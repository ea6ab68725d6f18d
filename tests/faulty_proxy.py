"""A proxy before a server of an object store, which answers chosen requests wrongly and counts all of them."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from cloud_server import Cloud, environment
from serving import serving


class Request(NamedTuple):
    """A request as it came; `nbytes` is the length of its body, `number` counts from 1."""

    number: int
    method: str
    path: str
    nbytes: int

    @property
    def is_part(self) -> bool:
        """Whether it uploads a part."""
        return self.method == "PUT" and "partNumber=" in self.path


class Fault(NamedTuple):
    """Another answer: a status, or that of the server cut after so many bytes, or none though it has done its work."""

    status: int = 0
    code: str = ""
    cut: int | None = None
    lost: bool = False


Faults = Callable[[Request], Fault | None]


def sound(request: Request) -> None:
    """No fault at all."""


class Proxy:
    """Where it listens, what came, and `faults`, which may be exchanged at any time."""

    def __init__(self, url: str) -> None:
        self.url, self.requests, self.faults = url, list[Request](), sound  # type: Faults

    def uploaded(self) -> int:
        """The bytes of all parts that were sent."""
        return sum(request.nbytes for request in self.requests if request.is_part)


@contextmanager
def proxy_before(cloud: Cloud) -> Iterator[Proxy]:
    """A proxy to a cloud, which the environment of this process names instead of that."""
    with faulty_proxy(cloud.url) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(proxy.url).items():
            patch.setenv(name, value)
        yield proxy


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy to the server at `upstream`."""
    to, lock = urlsplit(upstream).netloc, threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                request = Request(len(proxy.requests) + 1, self.command, self.path, len(body))
                proxy.requests.append(request)
                fault = proxy.faults(request)
            if fault and fault.status:
                error = f"<Error><Code>{fault.code}</Code><Message>made up</Message></Error>".encode()
                self.reply(fault.status, {"Content-Type": "application/xml"}, b"" if self.command == "HEAD" else error)
                return
            connection = HTTPConnection(to)
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            response = connection.getresponse()
            content = response.read()
            if fault and fault.lost:
                self.hang_up()
                return
            self.reply(response.status, dict(response.getheaders()), content, fault.cut if fault else None)
            connection.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

        def reply(self, status: int, headers: dict[str, str], content: bytes, cut: int | None = None) -> None:
            self.send_response_only(status)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
            dropped = ("content-length", "transfer-encoding", "connection")
            for name, value in headers.items():
                if name.lower() not in dropped:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(content[:cut])
            if cut is not None:
                self.hang_up()

        def hang_up(self) -> None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that are killed go without a word."""

    server = Server(("127.0.0.1", 0), Handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
    with serving(server):
        yield proxy
