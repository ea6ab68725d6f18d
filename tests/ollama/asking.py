"""Requests to a server as anybody could make them."""

import http.client
import json
from hashlib import sha256

from ollama_server import StandIn


def ask(
    server: StandIn, method: str, target: str, body: bytes | None = None, host: str = "127.0.0.1"
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
    connection.request(method, target, body, {"Host": host})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def create(server: StandIn, **request) -> tuple[int, list[dict[str, str]]]:
    status, body = ask(server, "POST", "/api/create", json.dumps(request).encode())
    return status, [json.loads(line) for line in body.splitlines()]


def sent(server: StandIn, data: bytes) -> str:
    digest = f"sha256:{sha256(data).hexdigest()}"
    assert ask(server, "POST", f"/api/blobs/{digest}", data) == (201, b"")
    return digest
