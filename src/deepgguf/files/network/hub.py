"""A model of the Hugging Face Hub: listed by huggingface_hub, read by ranges of the addresses to which the Hub leads.

Its settings are those of every program that uses the Hub: HF_TOKEN or `hf auth login`, HF_ENDPOINT, HF_HOME,
HF_HUB_CACHE, HF_HUB_OFFLINE. The revision becomes a commit when the model is listed, and stays that.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

from deepgguf.errors import CheckpointError, DeepggufError, OutputError, UsageError
from deepgguf.files.files import FileFacts, Files
from deepgguf.files.hub_cache import cached_as, read_ref
from deepgguf.files.hub_name import HubName, parse_file, parse_model
from deepgguf.files.local import LocalFiles
from deepgguf.files.network.http_client import Headers, origin_of
from deepgguf.files.network.patience import PATIENCE, Patience
from deepgguf.files.network.remote import RemoteFiles, described_range
from deepgguf.files.network.trouble import NOT_NOW, Insistence, Tries, Trouble, status_trouble
from deepgguf.files.traffic import Meter
from deepgguf.version import __version__

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_FORM = "write hf:ORGANIZATION/NAME, or hf:ORGANIZATION/NAME@REVISION"
_FILE_FORM = "write hf:ORGANIZATION/NAME/FILE, or hf:ORGANIZATION/NAME@REVISION/FILE"
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_READ = (".safetensors", ".json", ".jinja")


class HubFiles(RemoteFiles):
    """The files of a model at a commit, by the names that the Hub lists."""

    def __init__(self, model: str, commit: str, listed: Sequence[str], patience: Patience | None = None) -> None:
        super().__init__(patience)
        self._model, self._commit, self._listed = model, commit, tuple(listed)

    def __reduce__(self) -> tuple[type["HubFiles"], tuple[str, str, tuple[str, ...], Patience], str | None]:
        """Sent elsewhere, it connects there, with the token that is there."""
        return type(self), (self._model, self._commit, self._listed, self._patience), self._cache

    def __eq__(self, other: object) -> bool:
        """Whether both read the same commit."""
        return isinstance(other, HubFiles) and self.place == other.place

    def __hash__(self) -> int:
        """That of model and commit."""
        return hash(self.place)

    @property
    def place(self) -> str:
        """Model and commit."""
        return HubName(self._model, self._commit).address

    @property
    def checkpoint_name(self) -> str:
        """The model's, without its organization."""
        return self._model.partition("/")[2]

    @property
    def repository(self) -> tuple[str | None, str | None]:
        """The model and its commit."""
        return self._model, self._commit

    def names(self) -> Sequence[str]:
        """What the Hub lists, folders too."""
        return sorted({name.partition("/")[0] for name in self._listed})

    def names_in(self, folder: str) -> Sequence[str]:
        """What the Hub lists in that folder."""
        inside = (name.removeprefix(f"{folder}/") for name in self._listed if name.startswith(f"{folder}/"))
        return sorted({f"{folder}/{name.partition('/')[0]}" for name in inside})

    def _kept_as(self) -> tuple[str, str]:
        return cached_as(self._model), self._commit

    def _address(self, name: str) -> str:
        from huggingface_hub import constants

        if name not in self._listed:
            raise CheckpointError(name, f"no such file in {self.place}", "look at the model's page on the Hub")
        return f"{constants.ENDPOINT}/{self._model}/resolve/{self._commit}/{quote(name)}"

    def _credentials(self) -> Mapping[str, str]:
        return self._headers

    @cached_property
    def _headers(self) -> Mapping[str, str]:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # made when it is asked for

        headers = build_hf_headers(library_name="deepgguf", library_version=__version__)
        return {name.title(): value for name, value in headers.items()}

    def _described(self, name: str, status: int, headers: Headers) -> FileFacts | None:
        """By X-Linked-Size and X-Linked-ETag where the Hub leads to another host, which knows the file by other tags.

        See huggingface_hub, file_download.py, get_hf_file_metadata.
        """
        moved = headers.get("Location", "")
        if moved and origin_of(urljoin(self._address(name), moved)) == origin_of(self._address(name)):
            return None
        size = headers.get("X-Linked-Size", "") or (None if moved else _size(status, headers))
        tag = headers.get("X-Linked-ETag", "") or headers.get("ETag", "")
        return FileFacts(name, int(size), tag.removeprefix("W/").strip('"')) if size and tag else None

    def _refused(self, name: str, status: int, headers: Headers) -> DeepggufError:
        if status in (404, 410):
            return CheckpointError(name, f"listed in {self.place}, but not there", "try another revision")
        return _no_access(HubName(self._model, self._commit, name), status)


def open_folder(address: str) -> Files:
    """See `find.Source`. A model that the Hub's cache holds whole is read from there."""
    named = parse_model(address)
    if named is None:
        raise UsageError(address, "is not the name of a model", _FORM)
    return _opened(named)


def open_file(address: str) -> tuple[Files, str]:
    """See `find.Source`."""
    named = parse_file(address)
    if named is None or named.file is None:
        raise UsageError(address, "is not the name of a file", _FILE_FORM)
    files = _opened(named, (named.file,))
    if named.file not in (*files.names(), *files.names_in(named.file.rpartition("/")[0])):
        raise UsageError(address, f"the model {named.model} has no such file", "look at its page on the Hub")
    return files, named.file


def _opened(named: HubName, wanted: Sequence[str] = ()) -> Files:
    """The model's files, from the cache if that has those `wanted`: by default all that a conversion may read."""
    try:
        from huggingface_hub import constants
    except ImportError:
        advice = f"`pip install 'deepgguf[hub]'`, or `hf download {named.model} --local-dir …` and give that folder"
        raise UsageError(named.address, "needs huggingface_hub, which is not installed", advice) from None
    cached = Path(constants.HF_HUB_CACHE, cached_as(named.model))
    if constants.HF_HUB_OFFLINE:
        return _offline(named, cached)
    info = _listed(named)
    listed, commit = [entry.rfilename for entry in info.siblings or () if _is_plain(entry.rfilename)], info.sha
    if not listed or not commit or not _is_plain(commit):
        raise OutputError(named.address, "the Hub lists no file at all, or no commit", "look at the model's page")
    snapshot = cached / "snapshots" / commit
    needed = wanted or [name for name in listed if name.endswith(_READ)]
    if needed and all((snapshot / name).exists() for name in needed):
        return LocalFiles(snapshot)
    return HubFiles(named.model, commit, listed)


def _is_plain(name: str) -> bool:
    return name.isprintable() and all(part not in ("", ".", "..") for part in name.split("/"))


def _offline(named: HubName, cached: Path) -> Files:
    """What the cache has, without asking whether it is whole."""
    revision = named.revision or "main"
    ref = cached / "refs" / revision
    commit = read_ref(ref) if ref.is_file() else revision
    snapshot = cached / "snapshots" / commit
    if not snapshot.is_dir():
        found = "HF_HUB_OFFLINE is set, and the Hub's cache does not have it"
        raise UsageError(named.address, found, f"download it first: `hf download {named.model}`")
    return LocalFiles(snapshot)


def _listed(named: HubName) -> "ModelInfo":
    """What the Hub says of a model, asked again where that may help."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi(library_name="deepgguf", library_version=__version__)

    def ask(_: Tries) -> "ModelInfo":
        try:
            return api.model_info(named.model, revision=named.revision, timeout=PATIENCE.stall)
        except GatedRepoError:
            raise _no_access(named, 403) from None
        except RevisionNotFoundError:
            found = f"the model has no revision {named.revision}"
            raise UsageError(named.address, found, "give a branch, a tag or a commit of it") from None
        except (RepositoryNotFoundError, HFValidationError):
            found = "no such model on the Hub, or a private one"
            raise UsageError(named.address, found, f"look at its name; if it is private, {_LOGIN}") from None
        except Exception as error:
            raise _trouble(named, error) from error

    return Insistence(PATIENCE, Meter()).until_done(named.address, ask)


def _trouble(named: HubName, error: Exception) -> Exception:
    """What to raise for an error of huggingface_hub or of the client that it uses, httpx or its successor."""
    response: Any = getattr(error, "response", None)
    if response is None:
        causes = (error, error.__cause__, error.__context__)
        if "CERTIFICATE_VERIFY_FAILED" in "".join(map(str, causes)):
            advice = "check HF_ENDPOINT and this machine's clock; a network's own certificates: set SSL_CERT_FILE"
            return OutputError(named.address, f"the server's certificate is wrong: {error}", advice)
        return Trouble(f"the Hub cannot be reached ({type(error).__name__})")
    if response.status_code in NOT_NOW:
        return status_trouble(response.status_code, response.headers)
    return _no_access(named, response.status_code)


def _no_access(named: HubName, status: int) -> DeepggufError:
    """The error for what the Hub does not give out."""
    if status == 401:
        return OutputError(named.address, "the Hub asks who you are (status 401)", _LOGIN)
    if status == 403:
        page = f"https://huggingface.co/{named.model}"
        found = "the model is gated: the Hub gives it only to those who have accepted its licence (status 403)"
        return OutputError(named.address, found, f"accept the licence at {page}, then {_LOGIN}")
    return OutputError(named.address, f"the Hub answers with status {status}", "try again later")


def _size(status: int, headers: Headers) -> str | None:
    return described_range(headers) if status in (206, 416) else headers.get("Content-Length", "")
