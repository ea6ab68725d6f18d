"""The tokenizer of a checkpoint, put together from its files (tokenizer_files, chat_templates) and config.json.

Nothing here is run: patterns are hashed and compared, templates are carried as text.
"""

from collections.abc import Mapping

import msgspec

from deepgguf.checkpoint.chat_templates import read_chat_templates
from deepgguf.checkpoint.nested_config import language_part
from deepgguf.checkpoint.pre_tokenizer import PreTokenizer, of_tiktoken, recognize
from deepgguf.checkpoint.special_tokens import SpecialTokens, read_special_tokens
from deepgguf.checkpoint.tokenizer_files import read_tokenizer_files
from deepgguf.checkpoint.vocabulary import read_merges, read_vocabulary
from deepgguf.files.files import Files


class Tokenizer(msgspec.Struct, frozen=True):
    """A byte-level BPE tokenizer.

    `tokens[i]` is the text of id i, None where no file has one; `added` maps an added token's id to whether it is
    special; `merges` are pairs joined by one space. `chat_templates` go by name, that of the usual one being "default".
    `tiktoken`: it was read from a tiktoken.model.
    """

    tokens: tuple[str | None, ...]
    added: dict[int, bool]
    merges: tuple[str, ...]
    pre: PreTokenizer
    special: SpecialTokens
    chat_templates: dict[str, str]
    tiktoken: bool = False


def read_tokenizer(files: Files, config: Mapping[str, object]) -> tuple[Tokenizer, tuple[str, ...]]:
    """The tokenizer of a checkpoint with this config.json, and warnings: of files that cannot be used, and of special
    tokens that are named and not there.

    Raises CheckpointError if the tokenizer is missing, damaged or contradictory.
    """
    raw, file_warnings = read_tokenizer_files(files, language_part(config).get("vocab_size"))
    tokens, added = read_vocabulary(raw)
    merges = read_merges(raw.tokenizer.model)
    special, special_warnings = read_special_tokens(raw, config, tokens)
    tokenizer = Tokenizer(
        tokens=tokens,
        added=added | {id: True for id in special.ids.values() if id in added},
        merges=merges,
        pre=of_tiktoken(raw.pattern) if raw.tiktoken else recognize(raw.tokenizer.pre_tokenizer, merges),
        special=special,
        chat_templates=read_chat_templates(raw.config.chat_template, files),
        tiktoken=raw.tiktoken,
    )
    return tokenizer, (*file_warnings, *special_warnings)
