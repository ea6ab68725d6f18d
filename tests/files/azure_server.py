"""As much of Azure's blob service as reading takes: facts, ranges of one version, and the list of a folder.

https://learn.microsoft.com/en-us/rest/api/storageservices/list-blobs
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from serving import serving

CONTAINER = "models"


class Azure:
    """What its one container holds, by name."""

    def __init__(self, url: str) -> None:
        self.url, self.blobs = url, dict[str, bytes]()

    def listing(self, prefix: str) -> bytes:
        names = [name for name in sorted(self.blobs) if name.startswith(prefix)]
        blobs = "".join(self._blob(name) for name in names if "/" not in name.removeprefix(prefix))
        return f'<?xml version="1.0"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>'.encode()

    def _blob(self, name: str) -> str:
        facts = {
            "Last-Modified": formatdate(0, usegmt=True),
            "Content-Length": len(self.blobs[name]),
            "Content-Type": "x/y",
            "Etag": tag(self.blobs[name]),
        }
        properties = "".join(f"<{key}>{value}</{key}>" for key, value in facts.items())
        return f"<Blob><Name>{escape(name)}</Name><Properties>{properties}</Properties></Blob>"


def tag(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@contextmanager
def azure_server() -> Iterator[Azure]:
    """The service, for whoever needs no signature."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            container, _, name = unquote(parts.path).lstrip("/").partition("/")
            query = parse_qs(parts.query)
            if container != CONTAINER:
                self.reply(404, b"<Error><Code>ContainerNotFound</Code></Error>")
            elif "comp" in query:
                self.reply(200, azure.listing(query.get("prefix", [""])[0]))
            elif name not in azure.blobs:
                self.reply(404, b"<Error><Code>BlobNotFound</Code></Error>")
            else:
                self.blob(azure.blobs[name])

        do_HEAD = do_GET  # noqa: N815

        def blob(self, content: bytes) -> None:
            version = f'"{tag(content)}"'
            facts = {"ETag": version, "Last-Modified": formatdate(0, usegmt=True)}
            wanted = self.headers.get("Range", "").removeprefix("bytes=")
            if self.headers.get("If-Match", version) != version:
                self.reply(412, b"<Error><Code>ConditionNotMet</Code></Error>")
            elif wanted:
                first, last = map(int, wanted.split("-"))
                part = content[first : last + 1]
                span = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
                self.reply(206, part, facts | {"Content-Range": span})
            else:
                self.reply(200, content, facts)

        def reply(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response_only(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    azure = Azure(f"http://127.0.0.1:{server.server_address[1]}")
    with serving(server):
        yield azure
