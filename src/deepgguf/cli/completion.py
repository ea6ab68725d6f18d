"""`deepgguf completion`: a script for a shell, made of the command line's own arguments by shtab."""

import argparse
from collections.abc import Iterator

from deepgguf.choices import QuantizationChoices, declared
from deepgguf.cli.output import to_stdout

SHELLS = ("bash", "zsh", "fish")

# What shtab calls what these are completed by.
_PATHS = {**dict.fromkeys(("FILE", "FILE.gguf", "FILE.html", "IN.gguf", "SRC", "OUT"), "FILE"), "DIR": "DIRECTORY"}


def completion(options: argparse.Namespace) -> None:
    """`deepgguf completion`."""
    import shtab

    from deepgguf.planning.options import TYPES

    values = {name: entry.allowed for name, entry in declared(QuantizationChoices).items()} | {"type": TYPES}
    parser = options.command_line()
    for action in _actions(parser):
        if found := values.get(action.dest):
            action.choices = found
        elif action.metavar in _PATHS:
            action.complete = getattr(shtab, _PATHS[action.metavar])  # type: ignore[attr-defined]
    to_stdout(f"{shtab.complete(parser, shell=options.shell)}\n")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of every command."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
