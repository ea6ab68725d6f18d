"""The YAML head of a Markdown file, between two lines `---`, read as what it says and no more.

Anchors and aliases are refused (a few hundred bytes of them can mean gigabytes), nesting and size are bounded, and
every scalar stays the text that stands there: `no` is Norway's language, `1.10` a version, and no number or date is
ever computed.
"""

import yaml

MAX_BYTES = 64 << 10
MAX_DEPTH = 16
MAX_EVENTS = 10_000

_FENCE = b"---"


class YamlHeadError(Exception):
    """A head that cannot be read; the message says why, without naming the file."""


def yaml_head(document: bytes) -> dict[str, object]:
    """The members of the head: str, list and dict only; none if the document has no head or an empty one.

    `document` is the file's beginning, in UTF-8; MAX_BYTES of it are enough. Raises YamlHeadError.
    """
    text = _between_fences(document.removeprefix(b"\xef\xbb\xbf"))
    if text is None:
        return {}
    try:
        # YAML forbids tabs as indentation, published cards have them (Qwen3-235B-A22B-Instruct-2507).
        head = text.decode().replace("\t", "  ")
        _require_plain(head)
        members = yaml.load(head, Loader=yaml.BaseLoader)
    except UnicodeDecodeError as e:
        raise YamlHeadError(f"the head is not UTF-8 at byte {e.start}") from None
    except yaml.YAMLError as e:
        raise YamlHeadError(_reason(e)) from None
    except (ValueError, OverflowError):
        # PyYAML lets through what int() says of a directive's version and chr() of an escape like \UFFFFFFFF.
        raise YamlHeadError("the head is not YAML: an escape or a version number is out of range") from None
    if members is None:
        return {}
    if not isinstance(members, dict):
        raise YamlHeadError("the head is not a mapping of names to values")
    return members


def _between_fences(document: bytes) -> bytes | None:
    lines = document[:MAX_BYTES].split(b"\n")
    if lines[0].rstrip() != _FENCE:
        return None
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip() == _FENCE:
            return b"\n".join(lines[1:number]) + b"\n"
    raise YamlHeadError(f"the head has no closing line --- within {MAX_BYTES:,} bytes")


def _require_plain(head: str) -> None:
    """Refuses what would take more than the text's own size, from the parser's events, before anything is built."""
    depth = 0
    for count, event in enumerate(yaml.parse(head, Loader=yaml.BaseLoader)):
        if count == MAX_EVENTS:
            raise YamlHeadError(f"the head has more than {MAX_EVENTS:,} values")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise YamlHeadError(f"the head has an anchor or alias{_line(event)}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise YamlHeadError(f"the head is nested deeper than {MAX_DEPTH} levels{_line(event)}")


def _line(event: yaml.Event) -> str:
    """Where in the file; the parser counts lines from 0, and the head's first is one below the fence."""
    return f" in line {event.start_mark.line + 2}" if event.start_mark else ""


def _reason(error: yaml.YAMLError) -> str:
    """PyYAML's problem in one line."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None)
    return f"the head is not YAML: {problem}" + (f" in line {mark.line + 2}" if mark else "")
