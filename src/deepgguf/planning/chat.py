"""What a chat needs of the file besides weights: what the checkpoint lacks is filled in where the model's family or the
caller tells, and said where nothing does. The engines fill an absent key with the default of some other model.
"""

from collections.abc import Iterator

import msgspec

from deepgguf.checkpoint.chat_template import broken_template
from deepgguf.checkpoint.chat_templates import DEFAULT
from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.tokenizer import Tokenizer
from deepgguf.models.match import Model
from deepgguf.planning.options import Options

_FROM_THE_ORIGINAL = "take tokenizer.json and tokenizer_config.json from the original model"
_GIVE = "take tokenizer_config.json from the original model, or write into it"
_GIVE_ID = "take config.json from the original model, or write into it"  # nothing else is read beside a tiktoken.model


def with_what_it_lacks(checkpoint: Checkpoint, model: Model, options: Options) -> Checkpoint:
    """The checkpoint with a name for its pre-tokenizer and with a chat template: those that were chosen, else its own,
    else its family's.
    """
    tokenizer = checkpoint.tokenizer
    named = msgspec.structs.replace(tokenizer.pre, name=options.pre or tokenizer.pre.name or model.family.pre)
    templates = _templates(tokenizer, model) if options.chat_template is None else {DEFAULT: options.chat_template}
    complete = msgspec.structs.replace(tokenizer, pre=named, chat_templates=templates)
    return msgspec.structs.replace(checkpoint, tokenizer=complete)


def _templates(tokenizer: Tokenizer, model: Model) -> dict[str, str]:
    """Those of the checkpoint, with its family's as the default if they have none and the tokenizer has its tokens."""
    own = tokenizer.chat_templates
    bundled = None if DEFAULT in own else model.family.chat_template(model.config)
    return {DEFAULT: bundled.text, **own} if bundled and bundled.fits(tokenizer.tokens) else own


def chat_warnings(tokenizer: Tokenizer, *, pre_chosen: bool) -> Iterator[str]:
    """What a chat with the file will miss; `tokenizer` is as it is written, its pre-tokenizer chosen by the caller or
    not.
    """
    if not pre_chosen:
        yield from _pre_warnings(tokenizer)
    yield from _special_token_warnings(tokenizer)
    yield from _template_warnings(tokenizer.chat_templates)


def _pre_warnings(tokenizer: Tokenizer) -> Iterator[str]:
    """The engines would split text differently from how the model learned it."""
    pre = tokenizer.pre
    if pre.digest and not pre.by_patterns:
        yield (
            f"{pre.file}: its pre-tokenizer (SHA-256 {pre.digest}) is not one that the engines know; {pre.name} is "
            "written instead, so check how some text is tokenized, or choose another with `pre`"
        )
    elif not pre.digest and not pre.by_vocabulary:
        lost = ", which transformers 5 loses when it saves a tokenizer (its issue 45488)" if pre.lost else ""
        yield (
            f"tokenizer.json: its pre-tokenizer has no split patterns{lost}, and its vocabulary is not a known one; "
            f"{pre.name} is written, as most models of this kind have it: {_FROM_THE_ORIGINAL}, or choose with `pre`"
        )


def _special_token_warnings(tokenizer: Tokenizer) -> Iterator[str]:
    special = tokenizer.special
    if "eos" not in special.ids:
        yield (
            "the file has no EOS token, so that answers may not end: no file of the checkpoint names one; "
            + (f"{_GIVE_ID} eos_token_id" if tokenizer.tiktoken else f"{_GIVE} eos_token")
        )
    if "bos" not in special.ids:
        yield (
            "the file has no BOS token, so that engines take another one: no file of the checkpoint names one; "
            + (f"{_GIVE_ID} bos_token_id" if tokenizer.tiktoken else f"{_GIVE} bos_token")
        )
    elif special.add_bos is None and not tokenizer.tiktoken:  # none of those does
        yield (f"nothing says whether a prompt begins with BOS, so that engines add none: {_GIVE} add_bos_token")


def _template_warnings(templates: dict[str, str]) -> Iterator[str]:
    for name, template in templates.items():
        broken = broken_template(template)
        if broken:
            which = "the chat template" if name == DEFAULT else f"the chat template {name}"
            yield f"{which} is not Jinja that an engine can read ({broken}): chats will fail or use another one"
    if not templates:
        yield (
            "the file has no chat template, so that engines take one of another model: "
            "to chat, give the original model's with `chat_template`; base models have none"
        )
    elif DEFAULT not in templates:
        yield (
            f"none of the chat templates ({', '.join(templates)}) is called default, so that engines take another "
            "model's: give the one for chats with `chat_template`"
        )
