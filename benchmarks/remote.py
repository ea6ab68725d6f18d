"""Conversion from a server beside conversion from a folder: whole processes, alternating, medians.

usage: remote.py [--runs 3] [--jobs 2] [--folder DIR] [--output DIR] [--delay 40] [--connection 100] [--line 100]

The bench checkpoint (2.7 GB FP8) is made in --folder if it is not there. A server on this machine, a process of its
own, gives it out twice: as fast as it can, to be compared with the folder; and with --delay ms before every answer,
--connection MB/s for each connection and --line MB/s for all of them, to be compared with that line. Requests, bytes
and peak memory are printed too.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from conversion import Run, arguments, bench_checkpoint, run

_SLICE = 1 << 20  # bytes that are sent at a time


class Line(NamedTuple):
    """What a network does: seconds before an answer, bytes a second of a connection and of all; 0 for no limit."""

    delay: float = 0
    connection: float = 0
    total: float = 0


class Pace:
    """Lets so many bytes a second pass, in any thread."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free, self._lock = rate, time.monotonic(), threading.Lock()

    def wait(self, nbytes: int) -> None:
        """Until these bytes may pass."""
        if self._rate:
            with self._lock:
                self._free = max(self._free, time.monotonic()) + nbytes / self._rate
                until = self._free
            time.sleep(max(0.0, until - time.monotonic()))


class Server(ThreadingHTTPServer):
    """Clients may be killed."""

    daemon_threads, request_queue_size = True, 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing."""


class Handler(BaseHTTPRequestHandler):
    """Ranges of the files in `folder`; /count is how many requests came so far, and the bytes of bodies."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Path
    line: Line
    pace: Pace
    requests = nbytes = 0

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        """As GET, without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """A file, a range of one, or the count."""
        if self.path == "/count":
            body = json.dumps([Handler.requests, Handler.nbytes]).encode()
            self.begin(200, len(body))
            self.wfile.write(body)
            return
        Handler.requests += 1
        time.sleep(self.line.delay)
        path = self.folder / self.path.strip("/")
        if not path.is_file():
            self.begin(404, 0)
            return
        size = path.stat().st_size
        said = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(said[1]), int(said[2])) if said else (0, size - 1)
        self.begin(206 if said else 200, last - first + 1, f"bytes {first}-{last}/{size}" if said else "")
        if self.command == "GET":
            self.send(path, first, last + 1)

    def begin(self, status: int, length: int, content_range: str = "") -> None:
        """Status and headers."""
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"bench"')
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.flush()

    def send(self, path: Path, start: int, stop: int) -> None:
        """Bytes of a file, at the line's pace."""
        own = Pace(self.line.connection)
        step = _SLICE if self.line.connection or self.line.total else stop - start
        with path.open("rb") as file:
            while start < stop:
                nbytes = min(step, stop - start)
                own.wait(nbytes)
                self.pace.wait(nbytes)
                sent = os.sendfile(self.connection.fileno(), file.fileno(), start, nbytes)
                Handler.nbytes += sent
                start += sent


def serve(folder: Path, line: Line) -> None:
    """Serves until the process is ended; prints the port first."""
    Handler.folder, Handler.line, Handler.pace = folder, line, Pace(line.total)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        print(server.server_address[1], flush=True)
        server.serve_forever()


@contextmanager
def served(folder: Path, line: Line) -> Iterator[str]:
    """The address of a server that runs meanwhile."""
    command = [sys.executable, __file__, "--serve", json.dumps([str(folder), *line])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        process.kill()
        process.wait()


def count(address: str) -> tuple[int, int]:
    """Requests and bytes so far."""
    with urllib.request.urlopen(f"{address}count") as answer:
        requests, nbytes = json.load(answer)
    return requests, nbytes


def convert(source: str, options: argparse.Namespace) -> Run:
    """One conversion, timed."""
    with tempfile.TemporaryDirectory(dir=options.output) as out:
        jobs = ["--jobs", str(options.jobs)] if options.jobs else []
        return run([sys.executable, "-m", "deepgguf", "convert", source, "-o", out, *jobs], sync=False)


def measure(options: argparse.Namespace) -> list[dict[str, object]]:
    """Both comparisons."""
    folder = bench_checkpoint(options.folder, "v3-fp8")
    read = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    line = Line(options.delay / 1e3, options.connection * 1e6, options.line * 1e6)
    with served(folder, Line()) as fast, served(folder, line) as slow:
        convert(str(folder), options)
        near, far = [], []
        for _ in range(options.runs):
            near.append(convert(str(folder), options))
            far.append(convert(fast, options))
        (requests, nbytes), runs = count(fast), options.runs
        local, remote = (statistics.median(each.wall for each in contestant) for contestant in (near, far))
        cpu = [statistics.median(each.cpu for each in contestant) for contestant in (far, near)]
        paced = [convert(slow, options) for _ in range(options.runs)]
        seconds = statistics.median(each.wall for each in paced)
    shown = {"requests": requests // runs, "nbytes": nbytes // runs, "peak": max(each.peak for each in far)}
    share = read / seconds / (options.line * 1e6)
    return [
        {"case": "no delay", "seconds": remote, "local": local, "ratio": remote / local, "limit": 1.3,
         "cpu": cpu[0], "cpu_local": cpu[1], **shown},
        {"case": f"{line.delay * 1e3:.0f} ms", "seconds": seconds, "share": share, "limit": 0.85,
         "peak": max(each.peak for each in paced)},
    ]  # fmt: skip


def main() -> None:
    """Measures, and prints a line for each comparison; or serves."""
    parser = arguments(__doc__, runs=3)
    parser.add_argument("--delay", type=float, default=40, help="ms before an answer (default: 40)")
    parser.add_argument("--connection", type=float, default=100, help="MB/s of a connection (default: 100)")
    parser.add_argument("--line", type=float, default=100, help="MB/s of all connections (default: 100)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        folder, *line = json.loads(options.serve)
        serve(Path(folder), Line(*line))
        return
    fast, slow = measure(options)
    if options.json:
        print(json.dumps(fast), json.dumps(slow), sep="\n")
        return
    print(f"from a server {fast['seconds']:.2f} s, from the folder {fast['local']:.2f} s: {fast['ratio']:.2f} x (1.3)")
    print(f"processor time of the conversion {fast['cpu']:.2f} s, from the folder {fast['cpu_local']:.2f} s")
    print(f"{fast['requests']} requests, {fast['nbytes'] / 1e9:.3f} GB, {fast['peak'] / 1e6:.0f} MB of memory (600)")
    share = f"{slow['share']:.1%} of {options.line:.0f} MB/s (85 %)"
    print(f"with a delay of {slow['case']}: {slow['seconds']:.2f} s, {share}")
    print(f"{slow['peak'] / 1e6:.0f} MB of memory")


if __name__ == "__main__":
    main()
