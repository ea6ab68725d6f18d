"""What people call a model of the Hugging Face Hub, and a file of it: ORGANIZATION/NAME, hf:…, its web page."""

import re
from pathlib import Path
from typing import NamedTuple

_PART = r"[A-Za-z0-9][\w.-]*"
_MODEL = rf"(?P<model>{_PART}/{_PART})"
_PAGE = r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/"
_REVISION = r"(?P<revision>[\w./-]+?)"
_NAME = re.compile(rf"(?:hf:(?://)?)?{_MODEL}(?:@{_REVISION})?/?", re.ASCII)
_FILE = re.compile(rf"hf:(?://)?{_MODEL}(?:@(?P<revision>refs/pr/\d+|[^/]+))?/(?P<file>.+)", re.ASCII)
_MODEL_PAGE = re.compile(rf"{_PAGE}{_MODEL}(?:/tree/{_REVISION})?/?", re.ASCII)
_FILE_PAGE = re.compile(
    rf"{_PAGE}{_MODEL}/(?:resolve|blob)/(?P<revision>refs/pr/\d+|[^/]+)/(?P<file>[^?]+)(?:\?.*)?", re.ASCII
)


class HubName(NamedTuple):
    """A model, a revision of it (a branch, a tag, a commit; None for the main branch), and a file of it or None."""

    model: str
    revision: str | None
    file: str | None = None

    @property
    def address(self) -> str:
        """`hf:ORGANIZATION/NAME[@REVISION][/FILE]`."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.model}{revision}" + (f"/{self.file}" if self.file else "")


def parse_model(address: str) -> HubName | None:
    """What `hf:ORGANIZATION/NAME[@REVISION]` says; None if that is not its form."""
    found = _NAME.fullmatch(address)
    return HubName(found["model"], found["revision"]) if found else None


def parse_file(address: str) -> HubName | None:
    """What `hf:ORGANIZATION/NAME[@REVISION]/FILE` says, where a revision has no slash unless it is a pull request's;
    None if that is not its form.
    """
    found = _FILE.fullmatch(address)
    return HubName(found["model"], found["revision"], found["file"]) if found else None


def hub_address(name: str) -> str | None:
    """The `hf:` of a model that is called by its name, where no such folder exists, or by its web page; None if not."""
    page = _MODEL_PAGE.fullmatch(name)
    if page:
        return HubName(page["model"], page["revision"]).address
    found = _NAME.fullmatch(name)
    if found is None or (not name.startswith("hf:") and _on_disk(name)):
        return None
    return HubName(found["model"], found["revision"]).address


def hub_file_address(name: str) -> str | None:
    """The `hf:` of a file that is called by its page or its address to download; None if it is not."""
    page = _FILE_PAGE.fullmatch(name)
    return HubName(page["model"], page["revision"], page["file"]).address if page else None


def _on_disk(name: str) -> bool:
    """Whether it may be a path: something is there, or a folder beside it is."""
    return Path(name).exists() or Path(name).parent.exists()
