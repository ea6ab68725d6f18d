"""Files below an address of the web: https://HOST/FOLDER/, and http:// where the network can be trusted.

The web lists no folders. The files that readers of a checkpoint look for have names that are known, so each is asked
for; the shards are those that model.safetensors.index.json names.
"""

import netrc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from urllib.parse import quote, unquote, urlsplit

import msgspec

from deepgguf.errors import CheckpointError, DeepggufError, OutputError, UsageError
from deepgguf.executors.threads import Threads
from deepgguf.files.files import FileFacts
from deepgguf.files.network.http_client import Headers, NotAnAddressError, basic, origin_of
from deepgguf.files.network.patience import Patience
from deepgguf.files.network.remote import MOVED, RemoteFiles, described_range

INDEX = "model.safetensors.index.json"
WELL_KNOWN = (
    "README.md", "added_tokens.json", "chat_template.jinja", "chat_template.json", "config.json",
    "generation_config.json", "hf_quant_config.json", INDEX, "model.safetensors", "preprocessor_config.json",
    "processor_config.json", "special_tokens_map.json", "tiktoken.model", "tokenization_kimi.py",
    "tokenization_moonshot.py", "tokenizer.json", "tokenizer_config.json",
)  # fmt: skip
"""What readers of a checkpoint look for by its name."""

_MOST_INDEX = 100_000_000  # bytes
_FOLDER = "give the address of the folder in which config.json lies"
_LOGIN = "look at the address; for a server that asks for a password, put that into ~/.netrc"


class HttpFiles(RemoteFiles):
    """What lies below `folder`, an address that ends with a slash; `query` goes behind each file's (a signature)."""

    def __init__(self, folder: str, query: str = "", patience: Patience | None = None) -> None:
        super().__init__(patience)
        self._folder, self._query = folder, query

    def __reduce__(self) -> tuple[type["HttpFiles"], tuple[str, str, Patience], str | None]:
        """Sent elsewhere, it connects there."""
        return type(self), (self._folder, self._query, self._patience), self._cache

    def __eq__(self, other: object) -> bool:
        """Whether both read the same folder."""
        return isinstance(other, HttpFiles) and self.place == other.place

    def __hash__(self) -> int:
        """That of the address."""
        return hash(self.place)

    @property
    def place(self) -> str:
        """The address."""
        return self._folder + (f"?{self._query}" if self._query else "")

    @property
    def checkpoint_name(self) -> str:
        """The last folder of the address, or the host."""
        parts = urlsplit(self._folder)
        name = unquote(parts.path).rstrip("/").rpartition("/")[2]
        return name if name.isprintable() and name else parts.hostname or "checkpoint"

    def names(self) -> Sequence[str]:
        """Those of WELL_KNOWN that are there, and the shards that the index names."""
        return self._names

    @cached_property
    def _names(self) -> tuple[str, ...]:
        with closing(Threads(self.connections, self.abandon).map(self._probed, WELL_KNOWN)) as probed:
            found = dict(probed)
        there = {name for name, refusal in found.items() if refusal is None}
        if not there:
            raise UsageError(self.place, f"no checkpoint is there: config.json: {found['config.json']}", _FOLDER)
        return tuple(sorted(there | (self._shards() if INDEX in there else set())))

    def _probed(self, name: str) -> Iterator[tuple[str, str | None]]:
        """A name, and why no such file is there; None if one is."""
        try:
            self.facts(name)
        except CheckpointError as error:
            yield name, error.found
        else:
            yield name, None

    def _shards(self) -> set[str]:
        """The names in the index that lie in this folder; what is wrong with it is for its reader to say.

        Whether they are there shows when they are read.
        """
        index = self.facts(INDEX)
        if index.size > _MOST_INDEX:
            return set()
        try:
            weights = msgspec.json.decode(self.read(index, 0, index.size).data, type=dict[str, object])["weight_map"]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
            return set()
        named = weights.values() if isinstance(weights, dict) else ()
        return {name for name in named if isinstance(name, str) and "/" not in name}

    def _kept_as(self) -> tuple[str, str]:
        parts = urlsplit(self._folder)
        return f"models--{parts.netloc}--{unquote(parts.path).strip('/').replace('/', '--')}", "web"

    def _address(self, name: str) -> str:
        """The file's; a name is nothing but folders and a file below this one."""
        if not name or any(part in ("", ".", "..") for part in name.split("/")):
            raise CheckpointError(name, "no such file", _FOLDER)
        return self._folder + quote(name) + (f"?{self._query}" if self._query else "")

    def _described(self, name: str, status: int, headers: Headers) -> FileFacts | None:
        if status in MOVED:
            return None
        size = described_range(headers) if status in (206, 416) else headers.get("Content-Length", "")
        if not size or not size.isdigit() or headers.get("Content-Encoding", ""):
            return None
        return FileFacts(name, int(size), self._version(headers) or "")

    def _version(self, headers: Headers) -> str | None:
        """The entity tag, or the time of change; servers that send neither cannot be watched for changes."""
        return headers.get("ETag", "") or headers.get("Last-Modified", "") or None

    def _refused(self, name: str, status: int, headers: Headers) -> DeepggufError:
        if status in (403, 404, 410):  # some servers have 403 for what is not there
            found = "no such file" + (" there, or it may not be read (status 403)" if status == 403 else " there")
            return CheckpointError(name, found, _LOGIN)
        return OutputError(name, f"the server answers with status {status}", _LOGIN)

    def _credentials(self) -> Mapping[str, str]:
        return self._netrc

    @cached_property
    def _netrc(self) -> Mapping[str, str]:
        """What ~/.netrc has for the host, as curl and other programs read it; nothing without encryption."""
        origin = origin_of(self._folder)
        try:
            known = netrc.netrc().authenticators(origin.host) if origin.scheme == "https" else None
        except (OSError, netrc.NetrcParseError):
            known = None
        return {"Authorization": basic(known[0], known[2] or "")} if known else {}


def open_folder(address: str) -> HttpFiles:
    """See `find.Source`."""
    folder, _, query = address.partition("?")
    _check(address)
    return HttpFiles(folder if folder.endswith("/") else f"{folder}/", query)


def open_file(address: str) -> tuple[HttpFiles, str]:
    """See `find.Source`."""
    path, _, query = address.partition("?")
    _check(address)
    folder, _, name = path.rpartition("/")
    if not name or folder.endswith("/"):
        raise UsageError(address, "is not the address of a file", "give one that ends with a file's name")
    return HttpFiles(f"{folder}/", query), unquote(name)


def _check(address: str) -> None:
    try:
        origin_of(address)
    except NotAnAddressError:
        raise UsageError(address, "is not an address", "give one such as https://host/folder/") from None
    if "#" in address or urlsplit(address).username is not None:
        found = "an address with a password or a #"
        raise UsageError(address.partition("//")[0], found, "put a password into ~/.netrc, where nobody sees it")
