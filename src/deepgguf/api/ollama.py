"""GGUF files that are there into Ollama, and what a model's Modelfile is read from."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepgguf.api.settings import no_progress
from deepgguf.choices import StrPath, checked
from deepgguf.executors.executor import Progress
from deepgguf.ollama.request import OllamaReport, Request, Say, Way

# Imported where they are used: a conversion does not wait for what only Ollama needs.
if TYPE_CHECKING:
    from deepgguf.ollama.modelfile import Modelfile


@checked
def import_to_ollama(
    files: Sequence[StrPath],
    name: str,
    *,
    way: Way | None = None,
    modelfile: StrPath | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Say | None = None,
) -> OllamaReport:
    """Makes the model `name` in Ollama of GGUF files: one, a model and its mmproj, or any file of a split set.

    The arguments and errors are those of `Plan.to_ollama`; what `inspect` raises for files that are not sound. An
    interrupted import goes on where it was when it is done again.
    """
    from deepgguf.ollama.importing import import_model, read_given
    from deepgguf.ollama.name import parse_name
    from deepgguf.ollama.needs import Said, becomes_q8_0, modelfile_for
    from deepgguf.ollama.ways import choose_way

    parsed, model, say = parse_name(name), read_given(files), say or say_nothing
    needs = read_modelfile(modelfile) if modelfile is not None else None
    request = Request(parsed, needs or modelfile_for(model.keys, Said()), overwrite)
    destination = choose_way(way, os.environ, say)
    if destination.way == "api" and becomes_q8_0(model.keys):
        say("the server makes Q8_0 of this file, for it was FP8")
    return import_model(model, request, destination, progress or no_progress, say)


def read_modelfile(path: StrPath) -> "Modelfile":
    """The Modelfile at `path`."""
    from deepgguf.files.given_text import read_given_text
    from deepgguf.ollama.modelfile import parse_modelfile

    return parse_modelfile(read_given_text(path), os.fspath(path))


def say_nothing(line: str) -> None:
    """The default: tells nobody."""
