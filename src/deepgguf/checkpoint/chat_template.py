"""Whether a chat template can be Jinja at all; nothing is ever rendered.

No parser of the language (https://jinja.palletsprojects.com/templates): it finds what damage and typing errors leave,
in one pass over the text, and stays silent where engines may differ.
"""

import re

from deepgguf.errors import printable

_BLOCKS = frozenset(["autoescape", "block", "call", "filter", "for", "generation", "if", "macro", "set", "with"])
_WITHIN = {"elif": ("if",), "else": ("if", "for")}
_SINGLE = frozenset(["break", "continue", "do", "extends", "from", "import", "include"])
_OPENERS = {"(": ")", "[": "]", "{": "}"}

_TAG = re.compile(r"\{([{%#])[-+]?")
_ENDS = {"{": re.compile(r"\s*[-+]?\}\}"), "%": re.compile(r"\s*[-+]?%\}")}
_RAW_END = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<value> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | \d[\w.]* )
    | (?P<word> \w+ )
    | (?P<operator> \*\*|//|[=!<>]=|[-+*/%~|.,:=<>] )
    | (?P<bracket> [()\[\]{}] )
    )\s*""",
    re.VERBOSE | re.DOTALL,
)
_LARGEST = 1 << 20  # characters; real templates have up to 30,000, and to look at more would take seconds
_OPERATORS = frozenset(["and", "else", "if", "in", "is", "not", "or"])  # as words
_SIGNS = frozenset(("-", "+", "not"))  # operators that may begin an expression


class _Broken(Exception):  # noqa: N818 - a finding, not an error of the program
    """What is wrong, and at which character."""


def broken_template(template: str) -> str | None:
    """Why no engine can read `template`, with the number of the character; None if nothing was found.

    Templates of more than a million characters are not looked at.
    """
    if len(template) > _LARGEST:
        return None
    open_blocks: list[tuple[str, int]] = []
    position = 0
    try:
        while tag := _TAG.search(template, position):
            position = _tag_end(template, tag, open_blocks)
        if open_blocks:
            raise _Broken(f"{{% {open_blocks[-1][0]} %}} is never closed", open_blocks[-1][1])
    except _Broken as broken:
        found, at = broken.args
        return f"character {at}: {printable(found, 100)}"
    return None


def _tag_end(template: str, tag: re.Match[str], open_blocks: list[tuple[str, int]]) -> int:
    """Where the tag ends, after it is checked: a comment, an expression or a statement."""
    at = tag.start()
    if tag[1] == "#":
        end = template.find("#}", tag.end())
        if end < 0:
            raise _Broken("{# is never closed", at)
        return end + 2
    tokens, end = _tokens(template, tag)
    if tag[1] == "{":
        _check_expression(tokens, at)
        return end
    word = tokens[0] if tokens else ""
    if word == "raw":
        close = _RAW_END.search(template, end)
        if not close:
            raise _Broken("{% raw %} is never closed", at)
        return close.end()
    _check_statement(word, tokens, open_blocks, at)
    return end


def _tokens(template: str, tag: re.Match[str]) -> tuple[list[str], int]:
    """The tokens of a tag, and where it ends: at its closing braces, unless brackets are open."""
    tokens: list[str] = []
    expected: list[str] = []
    position = tag.end()
    while True:
        end = None if expected else _ENDS[tag[1]].match(template, position)
        if end:
            return tokens, end.end()
        token = _TOKEN.match(template, position)
        if not token:
            at_end = _ENDS[tag[1]].match(template, position) or not template[position:].strip()
            found = "is never closed" if at_end else f"holds {template[position : position + 20]!r}"
            raise _Broken(f"{tag[0]} {found}", tag.start() if at_end else position)
        text = token[token.lastgroup or 0]
        if token["bracket"]:
            if text in _OPENERS:
                expected.append(_OPENERS[text])
            elif not expected or expected.pop() != text:
                raise _Broken(f"{text} closes nothing", token.start("bracket"))
        tokens.append(text)
        position = token.end()


def _check_expression(tokens: list[str], at: int) -> None:
    if not tokens:
        raise _Broken("an expression is empty", at)
    first, last = tokens[0], tokens[-1]
    lacks = last if _is_operator(last) else first if _is_operator(first) and first not in _SIGNS else ""
    if lacks:
        raise _Broken(f"{lacks} lacks a value beside it", at)


def _is_operator(token: str) -> bool:
    return token in _OPERATORS or not (token[0].isalnum() or token[0] in "_\"'()[]{}")


def _check_statement(word: str, tokens: list[str], open_blocks: list[tuple[str, int]], at: int) -> None:
    inner = open_blocks[-1][0] if open_blocks else ""
    if word in ("if", "elif"):
        _check_expression(tokens[1:], at)
    if word in _BLOCKS:
        if word != "set" or "=" not in tokens:
            open_blocks.append((word, at))
    elif word in _WITHIN:
        if inner not in _WITHIN[word]:
            raise _Broken(f"{{% {word} %}} stands outside of {' and '.join(_WITHIN[word])}", at)
    elif word.startswith("end"):
        if word != f"end{inner}":
            raise _Broken(f"{{% {word} %}} closes " + (f"{{% {inner} %}}" if inner else "nothing"), at)
        open_blocks.pop()
    elif word not in _SINGLE:
        raise _Broken(f"{{% {word} %}} is not a statement of Jinja", at)
