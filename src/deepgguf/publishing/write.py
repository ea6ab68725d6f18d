"""Writes the model card of a folder; what earlier cards list stays, as long as its files are there."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from deepgguf.api.planned import Plan
from deepgguf.checkpoint.model_card import CARD
from deepgguf.choices import checked
from deepgguf.errors import OutputError, UsageError
from deepgguf.publishing.card import Card, Made
from deepgguf.publishing.gather import made_by, said_of
from deepgguf.publishing.text import card_text, parse_card
from deepgguf.run.address import Place
from deepgguf.run.result import Report
from deepgguf.run.whole_text import write_whole

_CAP = 16 << 20  # bytes
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


class WrittenCard(NamedTuple):
    """Where a card was written, and the fields of its head that the Hub asks for and nothing says."""

    path: Path
    lacks: tuple[str, ...]


@checked
def write_card(
    plan: Plan,
    report: Report,
    *,
    published_as: str | None = None,
    base_model: str | None = None,
    command: str = "",
) -> WrittenCard:
    """Writes README.md, the model card of the folder that `plan` was run into.

    `report` is that of the run, with `sha256=True`; its errors are in the card if they were measured. `published_as` is
    the repository on the Hub (ORGANIZATION/NAME) that the folder will be, `base_model` that of the original where its
    source does not say it, `command` how the files were made. Files of earlier cards that are still there stay in it.

    Raises UsageError if a README.md is there that deepgguf did not write, or that was changed since, OutputError if
    it cannot be written.
    """
    check_card(plan.folder, published_as=published_as, base_model=base_model)
    assert isinstance(plan.folder, Path)
    path, made = plan.folder / CARD, made_by(plan, report, command)
    before = _read(path)
    kept = tuple(filter(None, (_still_there(one, made, plan.folder) for one in (before.made if before else ()))))
    repository = published_as or (before.published_as if before else None)
    said = said_of(plan)
    if base_model is not None and base_model != said.base:
        said = msgspec.structs.replace(said, base=base_model, commit=None)
    write_whole(path, card_text(Card(said, repository, (*kept, made))))
    return WrittenCard(
        path, tuple(name for name, fact in (("base_model", said.base), ("license", said.license)) if not fact)
    )


def check_card(folder: Place, **repositories: str | None) -> None:
    """UsageError unless a card can be written into `folder`, for all that is known before the work."""
    if not isinstance(folder, Path):
        raise UsageError("`card`", "cannot be written to S3", "leave it out")
    for name, repository in repositories.items():
        if repository is not None and not _REPOSITORY.fullmatch(repository):
            raise UsageError(f"`{name}`", f"{repository!r} is not a repository", "write ORGANIZATION/NAME")
    path = folder / CARD
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file() or _read(path) is None):
        raise UsageError(
            path, "exists, and either deepgguf did not write it or it has been changed since", "move it away"
        )


def _read(path: Path) -> Card | None:
    """The card at `path`; None if there is none of deepgguf's."""
    try:
        if not path.is_file() or path.stat().st_size > _CAP:
            return None
        return parse_card(path.read_text("utf-8"))
    except UnicodeDecodeError:
        return None
    except OSError as error:
        raise OutputError(path, f"cannot be read: {error.strerror}") from None


def _still_there(earlier: Made, now: Made, folder: Path) -> Made | None:
    """What an earlier command made, without what is gone or made anew."""
    anew = {file.name for file in now.files}
    files = tuple(file for file in earlier.files if file.name not in anew and _size(folder / file.name) == file.size)
    if not files:
        return None
    runs = earlier.runs if any(file.name == earlier.runs for file in files) else None
    return msgspec.structs.replace(earlier, files=files, runs=runs)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
