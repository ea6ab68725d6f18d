"""The chat templates of a checkpoint by name, from every file where they can stand; nothing is ever rendered.

Of each name the first counts, in this order: `chat_template` of tokenizer_config.json (a text, a list or an object),
chat_template.jinja, additional_chat_templates/NAME.jinja; without a default until then, chat_template.json.
llama.cpp's converter has the same order (gguf-py, vocab.py).
"""

import os
import string
from collections.abc import Mapping

import msgspec

from deepgguf.checkpoint.tokenizer_files import Templates
from deepgguf.choices import StrPath
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.files.files import Files
from deepgguf.files.local import named_file
from deepgguf.formats.json_text import SMALL_FILE, read_json
from deepgguf.formats.whole_file import read_text

DEFAULT = "default"
"""The name of the template that engines use unless they are told another."""

_JINJA, _JSON, _MORE = "chat_template.jinja", "chat_template.json", "additional_chat_templates"
_ALLOWED = frozenset(string.ascii_letters + string.digits)


class _TemplateFile(msgspec.Struct, frozen=True):
    chat_template: Templates = None


def read_chat_templates(configured: Templates, files: Files) -> dict[str, str]:
    """All templates by the names that they have in GGUF keys; `configured` is tokenizer_config.json's.

    CheckpointError for a file that cannot be read.
    """
    names = files.names()
    found = _by_name(configured)
    if DEFAULT not in found and _JINJA in names:
        found[DEFAULT] = read_text(files, _JINJA, SMALL_FILE)
    for path in files.names_in(_MORE) if _MORE in names else ():
        name = _key_name(path.rpartition("/")[2].removesuffix(".jinja"))
        if path.endswith(".jinja") and name not in found:
            room = SMALL_FILE - sum(map(len, found.values()))  # all of them together, however many files there are
            found[name] = read_text(files, path, max(0, room))
    if DEFAULT not in found and _JSON in names:
        found = _by_name(_read_json(files)) | found
    return found


def read_template_file(path: StrPath) -> str:
    """The text of a template that the user names.

    UsageError if there is no such file or nothing in it, CheckpointError if it is no text.
    """
    text = read_text(*named_file(path, "a chat template"), SMALL_FILE)
    if not text.strip():
        raise UsageError(os.fspath(path), "is empty, expected a chat template in Jinja")
    return text


def _by_name(templates: Templates) -> dict[str, str]:
    """Of two with one name the first."""
    if isinstance(templates, str):
        return {DEFAULT: templates}
    pairs = templates.items() if isinstance(templates, Mapping) else ((t.name, t.template) for t in templates or ())
    found: dict[str, str] = {}
    for name, template in pairs:
        if name:
            found.setdefault(_key_name(name), template)
    return found


def _key_name(name: str) -> str:
    """As gguf-py has it in keys (gguf_writer.py, add_chat_template)."""
    return "".join(c if c in _ALLOWED else "_" for c in name)


def _read_json(files: Files) -> Templates:
    try:
        return msgspec.convert(read_json(files, _JSON, SMALL_FILE), _TemplateFile).chat_template
    except msgspec.ValidationError as error:
        raise CheckpointError(
            _JSON, str(error), "the file is not what transformers writes; take it from the original model"
        ) from None
