"""The chat templates of models that ship none, as package data; a family says which of them a model has.

chat_templates/README.md says where their rules come from.
"""

from collections.abc import Iterable
from importlib.resources import files

import msgspec

_TOKENS = ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")


class BundledTemplate(msgspec.Struct, frozen=True):
    """A template in one or more files, one after the other, and the tokens without which its prompts make no sense."""

    parts: tuple[str, ...]
    tokens: tuple[str, ...] = ()

    def fits(self, vocabulary: Iterable[str | None]) -> bool:
        """Whether a tokenizer with these tokens can read its prompts as the model learned them."""
        return not self.tokens or set(self.tokens) <= set(vocabulary)

    @property
    def text(self) -> str:
        """The Jinja text."""
        folder = files("deepgguf.models") / "chat_templates"
        return "".join((folder / part).read_text("utf-8") for part in self.parts)


OCR = BundledTemplate(("deepseek-ocr.jinja",))
V32 = BundledTemplate(("deepseek-v3.2.jinja",), _TOKENS)
V4 = BundledTemplate(("deepseek-v4-effort.jinja", "deepseek-v4.jinja"), (*_TOKENS, "｜DSML｜"))
V4_0731 = BundledTemplate(("deepseek-v4-effort-0731.jinja", "deepseek-v4.jinja"), (*_TOKENS, "｜DSML｜"))
