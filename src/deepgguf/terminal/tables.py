"""How tables look."""

from collections.abc import Collection

from rich.table import Table


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
