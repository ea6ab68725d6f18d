"""A server that stands in for Ollama's, as far as a client that makes models can tell: server/create.go, routes.go.

It answers a blob that it has without reading the body, and closes; writes text models anew; says nothing meanwhile;
and has errors at the end of answers of status 200. `python ollama_server.py FOLDER` prints its port and serves.
"""

import hashlib
import json
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

from go_gguf import Decoded, GoError, decode, written_anew

VERSION = "0.32.15"
DIGEST = re.compile(r"^sha256[:-][0-9a-fA-F]{64}$")
PART = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$")
SPLIT = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\.gguf$")
IMAGE = "application/vnd.ollama.image."
FILE_TYPES = {1: "F16", 2: "Q4_0", 7: "Q8_0", 10: "Q2_K", 14: "Q4_K_S", 15: "Q4_K_M", 32: "BF16", 38: "MXFP4_MOE"}
QUANTIZES = {"F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7, "Q4_K_S": 14, "Q4_K_M": 15, "Q4_K": 15}
AS_SENT = ("a.", "mm.", "mtp.", "s.", "v.")


class RefusedError(Exception):
    """An error, and its status where nothing has been streamed yet."""

    def __init__(self, text: str, status: int = 500) -> None:
        super().__init__(text)
        self.status = status


def dumped(value: object) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return re.sub("[<>&]", lambda m: f"\\u{ord(m[0]):04x}", text).encode() + b"\n"


def human(count: int) -> str:
    for unit, letter, form in ((10**9, "B", "{:.1f}"), (10**6, "M", "{:.2f}"), (10**3, "K", "{:.0f}")):
        if count >= unit:
            return (str(count // unit) if count % unit == 0 else form.format(count / unit)) + letter
    return str(count)


class Models:
    """The folder of models, as the server writes it."""

    def __init__(self, root: Path, *, quantizer: bool = True) -> None:
        self.root, self.quantizer = root, quantizer
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        (root / "manifests").mkdir(exist_ok=True)

    def blob(self, digest: str) -> Path:
        if not DIGEST.match(digest):
            raise RefusedError("invalid digest format", 400)
        return self.root / "blobs" / digest.replace(":", "-")

    def add(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        written = self.root / "blobs" / f"sha256-{uuid.uuid4().int}"
        written.write_bytes(data)
        written.rename(self.blob(digest))
        self.blob(digest).chmod(0o644)
        return digest

    def manifests(self) -> dict[tuple[str, ...], dict[str, Any]]:
        folder = self.root / "manifests"
        paths = [path for path in folder.glob("*/*/*/*") if path.is_file()]
        return {path.relative_to(folder).parts: json.loads(path.read_bytes()) for path in paths}

    def find(self, text: str) -> tuple[str, ...]:
        """The parts of a name, spelled as a model that there is has them."""
        parts = ["registry.ollama.ai", "library", "", "latest"]
        head, colon, tag = text.rpartition(":") if text.rfind(":") > text.rfind("/") else (text, "", "latest")
        parts[3] = tag if colon else "latest"
        given = head.split("/")[-3:]
        parts[3 - len(given) : 3] = given
        if not all(map(PART.match, parts)) or "." in parts[1]:
            raise RefusedError("invalid model name", 400)
        for known in self.manifests():
            for place, part in enumerate(known):
                parts[place] = part if part.lower() == parts[place].lower() else parts[place]
        return tuple(parts)

    def remove_unused(self, manifest: dict[str, Any]) -> None:
        used = {layer["digest"] for other in self.manifests().values() for layer in (other["config"], *other["layers"])}
        for layer in (manifest["config"], *manifest["layers"]):
            if layer["digest"] not in used:
                self.blob(layer["digest"]).unlink(missing_ok=True)

    def create(self, request: dict[str, Any], parts: tuple[str, ...]) -> Iterator[str]:
        before = self.manifests().get(parts)
        layers: list[tuple[str, Path, str, list[Decoded]]] = []
        splits: dict[str, dict[int, tuple[str, Path, str, list[Decoded]]]] = {}
        if not request["files"]:
            raise RefusedError("unknown type", 400)
        for name in sorted(request["files"]):
            yield "parsing GGUF"
            path = self.blob(request["files"][name])
            if not path.exists():
                raise RefusedError(f"open {path}: no such file or directory")
            try:
                found = decode(path)
            except GoError as error:
                raise RefusedError(str(error), 400 if "supplied" in str(error) else 500) from None
            layer = (self._kind(found), path, name, [found])
            count = found.of("split.count", 0)
            if count > 1:
                splits.setdefault(self._group(name, found, count), {})[found.of("split.no")] = layer
            else:
                layers.append(layer)
        for shards in splits.values():
            first, count = next(iter(shards.values())), next(iter(shards.values()))[3][0].of("split.count")
            if len(shards) != count:
                raise RefusedError(f'split GGUF "{first[2]}" has {len(shards)} shards, expected {count}')
            layers.append((*shards[0][:3], [shards[n][3][0] for n in range(count)]))
        config: dict[str, Any] = {
            "model_format": "",
            "model_family": "",
            "model_families": None,
            "model_type": "",
            "file_type": "",
        }
        listed, statuses = [], []
        for layer in layers:
            entry, made = yield from self._stored(layer, request)
            listed.append(entry)
            statuses.append(f"{made} layer {entry['digest']}")
            if entry["mediaType"] == f"{IMAGE}model":
                found = layer[3][0]
                family = found.of("general.architecture", "unknown")
                config |= {
                    "model_format": "gguf",
                    "model_family": family,
                    "model_families": [*(config["model_families"] or []), family],
                    "model_type": human(sum(part.parameters for part in layer[3])),
                    "file_type": FILE_TYPES.get(self._file_type(found, request), "unknown"),
                }
        for kind, data in self._beside(request):
            digest = self.add(data)
            listed.append({"mediaType": IMAGE + kind, "digest": digest, "size": len(data)})
            statuses.append(f"creating new layer {digest}")
        config |= {key: request[key] for key in ("renderer", "parser", "requires") if request.get(key)}
        written = dumped(config | {"architecture": "amd64", "os": "linux"})
        own = {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": self.add(written),
            "size": len(written),
        }
        yield from statuses
        yield "writing manifest"
        path = self.root.joinpath("manifests", *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}
        path.write_bytes(dumped(head | {"config": own, "layers": listed}))
        if before:
            self.remove_unused(before)
        yield "success"

    def _kind(self, found: Decoded) -> str:
        sees = found.of("general.type") in ("projector", "mmproj")
        encodes = found.of("general.architecture") == "clip" and found.of("has_vision_encoder")
        alone = not found.of("block_count") and (found.of("vision.block_count") or encodes)
        return f"{IMAGE}projector" if sees or alone else f"{IMAGE}model"

    def _group(self, name: str, found: Decoded, count: int) -> str:
        match = SPLIT.match(name)
        if not match:
            raise RefusedError(f'split GGUF "{name}" must use llama.cpp split filename pattern')
        if int(match[3]) != count:
            raise RefusedError(
                f'split GGUF "{name}" filename count {int(match[3])} does not match metadata count {count}'
            )
        if found.of("split.no") != int(match[2]) - 1:
            own = f"filename index {int(match[2]) - 1} does not match metadata index {found.of('split.no')}"
            raise RefusedError(f'split GGUF "{name}" {own}')
        return match[1]

    def _file_type(self, found: Decoded, request: dict[str, Any]) -> int:
        wanted = self._quantize(found, request)
        return QUANTIZES[wanted] if wanted else found.of("general.file_type", 0)

    def _quantize(self, found: Decoded, request: dict[str, Any]) -> str:
        was_fp8 = found.of("source_quantization") == "hf_fp8" and found.of("source_fp8_tensors")
        unquantized = found.of("general.file_type", 0) in (1, 32)
        return request.get("quantize", "").upper() or ("Q8_0" if was_fp8 and unquantized else "")

    def _stored(self, layer: tuple[str, Path, str, list[Decoded]], request: dict[str, Any]) -> Any:
        kind, path, name, parts = layer
        if kind == f"{IMAGE}model":
            wanted = self._quantize(parts[0], request)
            if wanted and wanted not in QUANTIZES:
                types = "F32, F16, Q4_K_S, Q4_K_M, Q8_0"
                raise RefusedError(f"unsupported quantization type {wanted} - supported types are {types}")
            if wanted and parts[0].of("general.file_type", 0) not in (1, 32):
                raise RefusedError("quantization is only supported for F16, BF16 and F32 models")
            if not any(tensor.name.startswith(AS_SENT) for part in parts for tensor in part.tensors):
                if not self.quantizer:
                    text = "failed to validate GGUF with llama-quantize without compatibility patches: "
                    raise RefusedError(
                        text + "llama-quantize unavailable: llama-quantize binary not found (checked: …)"
                    )
                yield "verifying conversion"
                data = written_anew(parts)
                return {"mediaType": kind, "digest": self.add(data), "size": len(data)}, "creating new"
        digest = path.name.replace("-", ":")
        return {"mediaType": kind, "digest": digest, "size": path.stat().st_size, "from": name}, "using existing"

    def _beside(self, request: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
        template = request.get("template", "")
        if template.count("{{") != template.count("}}"):
            raise RefusedError("template error: template: :1: unclosed action", 400)
        licenses = request.get("license") or []
        yield from [("template", template.encode())] if template else []
        yield from [("system", request["system"].encode())] if request.get("system") else []
        yield from (("license", text.encode()) for text in ([licenses] if isinstance(licenses, str) else licenses))
        if request.get("parameters"):
            numbers = {
                key: int(value) if isinstance(value, float) and value == int(value) else value
                for key, value in sorted(request["parameters"].items())
            }
            yield "params", dumped(numbers)
        if request.get("messages"):
            yield "messages", dumped(request["messages"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "StandIn"

    def do_GET(self) -> None:
        self._answer({"/": self._alive, "/api/version": self._version, "/api/tags": self._tags})

    def do_HEAD(self) -> None:
        self._answer({"/": self._alive, "/idle": self._idle})

    def do_DELETE(self) -> None:
        self._answer({"/api/delete": self._delete})

    def do_POST(self) -> None:
        self._answer({"/api/create": self._create, "/api/show": self._show, "/api/copy": self._copy})

    def _answer(self, routes: dict[str, Any]) -> None:
        self.server.seen.append((self.command, self.path))
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in ("127.0.0.1", "localhost", "[::1]") and not host.endswith((".localhost", ".local", ".internal")):
            self._send(403, b"")
            return
        try:
            if self.path.startswith("/api/blobs/"):
                self._blob(self.path.rpartition("/")[2])
            elif self.path in routes:
                routes[self.path]()
            else:
                self._send(404, b"404 page not found", "text/plain")
        except RefusedError as refused:
            self._json({"error": str(refused)}, refused.status)

    def _blob(self, digest: str) -> None:
        if self.command not in ("HEAD", "POST"):
            self._send(405, b"405 method not allowed", "text/plain", {"Allow": "HEAD, POST"})
            return
        path = self.server.models.blob(digest)
        if self.command == "HEAD":
            self._send(200 if path.exists() else 404, b"")
            return
        if path.exists():
            self.close_connection = True  # without reading the body
            self._send(200, b"", headers={"Connection": "close"})
            return
        found = self.server.models.add(self._body())
        if found != digest:
            raise RefusedError(f'digest mismatch, expected "{digest}", got "{found}"', 400)
        self._send(201, b"")

    def _create(self) -> None:
        request = self._request()
        for name, digest in (request.get("files") or {}).items():
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise RefusedError("file path must be relative", 400)
            if not digest:
                raise RefusedError("invalid digest format", 400)
        parts = self.server.models.find(request.get("model") or request.get("name") or "")
        if request.get("files") is None:
            raise RefusedError("neither 'from' or 'files' was specified", 400)
        lines = self.server.models.create(request, parts)
        if request.get("stream") is False:
            self._json({"status": list(lines)[-1]})
            return
        first = next(lines)  # an error before it has its own status
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._line({"status": first})
        try:
            for status in lines:
                if status == "verifying conversion":
                    self.server.silence.wait()
                self._line({"status": status})
        except RefusedError as refused:
            self._line({"error": str(refused)})
        self.wfile.write(b"0\r\n\r\n")

    def _line(self, value: object) -> None:
        data = dumped(value)
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _show(self) -> None:
        named = self._request().get("model")
        if not named:
            raise RefusedError("model is required", 400)
        _, manifest = self._manifest(named)
        config = json.loads(self.server.models.blob(manifest["config"]["digest"]).read_bytes())
        layers = {layer["mediaType"].removeprefix(IMAGE): layer for layer in manifest["layers"]}
        template = self.server.models.blob(layers["template"]["digest"]).read_text() if "template" in layers else ""
        found = decode(self.server.models.blob(layers["model"]["digest"]))
        sees = "projector" in layers or found.of("vision.block_count")
        capabilities = ["completion", *(["vision"] if sees else [])]
        details = {
            "format": config["model_format"],
            "family": config["model_family"],
            "parameter_size": config["model_type"],
        }
        details |= {"families": config["model_families"], "quantization_level": config["file_type"], "parent_model": ""}
        self._json(
            {
                "details": details,
                "capabilities": capabilities,
                "template": template,
                "requires": config.get("requires", ""),
            }
        )

    def _tags(self) -> None:
        models = []
        for parts in self.server.models.manifests():
            data = self.server.models.root.joinpath("manifests", *parts).read_bytes()
            shown = f"{parts[2]}:{parts[3]}"
            if parts[0] != "registry.ollama.ai":
                shown = f"{parts[0]}/{parts[1]}/{shown}"
            elif parts[1] != "library":
                shown = f"{parts[1]}/{shown}"
            models.append({"name": shown, "model": shown, "digest": hashlib.sha256(data).hexdigest()})
        self._json({"models": models})

    def _delete(self) -> None:
        parts, manifest = self._manifest(self._request()["model"], '"')
        self.server.models.root.joinpath("manifests", *parts).unlink()
        self.server.models.remove_unused(manifest)
        self._send(200, b"")

    def _copy(self) -> None:
        request = self._request()
        parts, _ = self._manifest(request["source"])
        target = self.server.models.root.joinpath("manifests", *self.server.models.find(request["destination"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.server.models.root.joinpath("manifests", *parts).read_bytes())
        self._send(200, b"")

    def _manifest(self, named: str, mark: str = "'") -> tuple[tuple[str, ...], dict[str, Any]]:
        parts = self.server.models.find(named)
        if parts not in self.server.models.manifests():
            raise RefusedError(f"model {mark}{parts[2]}:{parts[3]}{mark} not found", 404)
        return parts, self.server.models.manifests()[parts]

    def _alive(self) -> None:
        self._send(200, b"Ollama is running", "text/plain")

    def _idle(self) -> None:
        """For tests alone: answers when nobody else is served any more."""
        with self.server.served:
            self.server.served.wait_for(lambda: self.server.clients == 1)
        self._send(200, b"")

    def _version(self) -> None:
        self._json({"version": self.server.version})

    def _request(self) -> dict[str, Any]:
        body = self._body()
        if not body:
            raise RefusedError("missing request body", 400)
        try:
            return json.loads(body)
        except ValueError:
            raise RefusedError("unexpected EOF", 400) from None

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, dumped(value), "application/json")

    def _send(self, status: int, body: bytes, kind: str = "", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **(headers or {})}.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


class StandIn(ThreadingHTTPServer):
    """The server: `seen` are the requests that came, `silence` is clear while it is to say nothing."""

    daemon_threads = True

    def __init__(self, root: Path, version: str = VERSION, *, quantizer: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.version = Models(root, quantizer=quantizer), version
        self.seen: list[tuple[str, str]] = []
        self.silence = threading.Event()
        self.silence.set()
        self.clients, self.served = 0, threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Counts who is served, in the order in which they came."""
        with self.served:
            self.clients += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self.served:
            self.clients -= 1
            self.served.notify_all()

    @property
    def address(self) -> str:
        """As OLLAMA_HOST has it."""
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no error."""


@contextmanager
def running(root: Path, version: str = VERSION, *, quantizer: bool = True) -> Iterator[StandIn]:
    """A server over the models in `root`, until the end of the block."""
    with StandIn(root, version, quantizer=quantizer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with StandIn(Path(sys.argv[1])) as alone:
        print(alone.server_address[1], flush=True)
        alone.serve_forever()
