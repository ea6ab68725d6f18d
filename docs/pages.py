"""What the site has besides the pages in this folder: README and its neighbours, and the help of every command.

A hook of MkDocs, see mkdocs.yml. Links are those of the repository, as its readers follow them there: to a page of the
site they are rewritten, to anything else they become plain text, for the site does not have it.
"""

import argparse
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "tests/hostile/CATALOGUE.md": "catalogue.md",
}
"""Where the files of the repository that are no pages of this folder stand on the site."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not in this folder."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """The text with the site's links."""
    came_from = {page: path for path, page in PAGES.items()}
    path = came_from.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    blocks = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)  # at odd places those of code
    for number in range(0, len(blocks), 2):
        blocks[number] = LINK.sub(lambda link: linked(link, path), blocks[number])
    return "".join(blocks)


def linked(link: re.Match[str], path: str) -> str:
    """One link of the file at `path`, as the site has it."""
    mark, text, target = link.groups()
    if re.match(r"\w+:|#", target):
        return link[0]
    target, hash_, anchor = target.partition("#")
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if not (ROOT / found).exists():
        return link[0]  # which MkDocs then complains of
    page = PAGES.get(found) or (found.removeprefix("docs/") if found.startswith("docs/") else None)
    return f"{mark}[{text}]({page}{hash_}{anchor})" if page else text


def commands() -> str:
    """The page of the commands: the help of each."""
    os.environ["COLUMNS"] = "100"
    from deepgguf.cli.arguments import command_line

    sections = (f"## {parser.prog}\n\n```text\n{parser.format_help()}```\n" for parser in parsers(command_line()))
    return "# Commands\n\nWhat `--help` prints of each.\n\n" + "\n".join(sections)


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The command and those below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)
