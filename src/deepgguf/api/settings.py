"""How a run goes: the choices that change no byte, apart from those that do, complete and checked."""

from collections.abc import Mapping
from typing import Any, Literal, Unpack

from deepgguf.choices import RunChoices, complete, declared
from deepgguf.errors import UsageError
from deepgguf.executors.threads import Threads, available_processors
from deepgguf.run.address import Place
from deepgguf.run.settings import Settings


def run_settings(folder: Place, **choices: Unpack[RunChoices]) -> tuple[Settings, Threads]:
    """The complete choices of a run into `folder`, and its threads; UsageError if they make no sense."""
    chosen = complete(choices, RunChoices)
    resume, restart, jobs = chosen.pop("resume"), chosen.pop("restart"), chosen.pop("jobs")
    if resume and restart:
        raise UsageError("`resume`", "contradicts `restart`", "give one of them")
    left_part: Literal["resume", "restart"] | None = "resume" if resume else "restart" if restart else None
    return Settings(folder=folder, left_part=left_part, **chosen), Threads(jobs or available_processors())


def apart(choices: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The choices that decide the bytes, and those of how they are made."""
    of_the_run = declared(RunChoices)
    how = {name: choice for name, choice in choices.items() if name in of_the_run}
    return {name: choice for name, choice in choices.items() if name not in of_the_run}, how


def no_progress(nbytes: int) -> None:
    """The default: tells nobody."""
