"""What a model may be called (types/model/name.go): [host/][namespace/]model[:tag]."""

import re
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from deepgguf.errors import UsageError

_DEFAULTS = ("registry.ollama.ai", "library", "", "latest")
# Of each part: what it is called, the most characters, what may follow a letter, a digit or _.
_PARTS = (("host", 350, "_.:-"), ("namespace", 80, "_-"), ("model", 80, "_.-"), ("tag", 80, "_.-"))


class ModelName(msgspec.Struct, frozen=True, order=True):
    """A whole name; two are one model's if they differ in the case of letters only."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Host, namespace, model, tag: the folders of the manifest, and its own name."""
        return self.host, self.namespace, self.model, self.tag

    def __str__(self) -> str:
        """As `ollama list` shows it, without `:latest`: what the user types after `ollama run`."""
        host, namespace, model, tag = self.parts
        shown = model if tag == _DEFAULTS[3] else f"{model}:{tag}"
        if host.lower() != _DEFAULTS[0]:
            return f"{host}/{namespace}/{shown}"
        return shown if namespace.lower() == _DEFAULTS[1] else f"{namespace}/{shown}"

    def spelled_as_in(self, known: Iterable["ModelName"]) -> "ModelName":
        """The same model with every part spelled as a known model has it (server/routes.go, getExistingName)."""
        parts = list(self.parts)
        for other in sorted(known):
            for place, part in enumerate(other.parts):
                if parts[place].lower() == part.lower():
                    parts[place] = part
        return ModelName(*parts)

    def is_among(self, known: Iterable["ModelName"]) -> bool:
        """Whether it is the name of one of these models."""
        own = [part.lower() for part in self.parts]
        return any(own == [part.lower() for part in other.parts] for other in known)


def parse_name(text: str) -> ModelName:
    """The name that `text` stands for; UsageError that says which part Ollama would refuse, and why."""
    head, tag = text, ""
    if text.rfind(":") > text.rfind("/"):
        head, _, tag = text.rpartition(":")
        _refuse_empty(text, tag)
    *places, model = head.rsplit("/", 2)
    for part in (*places, model):
        _refuse_empty(text, part)
    given = ("", "", model, tag) if not places else ("", places[0], model, tag)
    if len(places) == 2:
        given = (places[0].rpartition("://")[2], places[1], model, tag)
    found = tuple(part or default for part, default in zip(given, _DEFAULTS, strict=True))
    for part, (what, longest, also) in zip(found, _PARTS, strict=True):
        if len(part) > longest or not re.fullmatch(rf"[A-Za-z0-9_][A-Za-z0-9{re.escape(also)}]*", part):
            place = "it" if part == text else f"its {what} {part!r}"
            rule = (
                f"must be letters, digits and any of {also}, at most {longest}, and begin with a letter, a digit or _"
            )
            raise UsageError("the model's name", f"Ollama refuses {text!r}", f"{place} {rule}")
    return ModelName(*found)


def known_names(texts: Iterable[str]) -> list[ModelName]:
    """The names in a list of a server's; what another version may call a model otherwise is left out."""
    found = []
    for text in texts:
        with suppress(UsageError):
            found.append(parse_name(text))
    return found


def _refuse_empty(text: str, part: str) -> None:
    if not part:
        raise UsageError("the model's name", f"{text!r} has an empty part", "give one such as deepseek-v3:q4_k_m")
