"""How tables look, and the facts and warnings beside them."""

from collections.abc import Collection, Iterable

from rich.table import Table
from rich.text import Text

from deepgguf.errors import printable


def titled_table(title: str, *columns: str, numbers: Collection[str] = ()) -> Table:
    """A table under its title, without lines; the columns in `numbers` are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def facts_table() -> Table:
    """An empty table with a column of names and one of facts."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def marked(fact: str) -> Text:
    """A fact that may end in a mark of rich's, as `free` of a plan's page makes it; else nothing in it is markup."""
    return Text.from_markup(fact) if fact.endswith("[/]") else Text(fact)


def warning_lines(warnings: Iterable[str]) -> list[Text]:
    """A line for each warning."""
    return [Text(f"warning: {printable(warning, 1000)}", style="yellow") for warning in warnings]
