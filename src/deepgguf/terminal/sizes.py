"""Numbers as people read them."""

from collections.abc import Sequence


def size(nbytes: float) -> str:
    """Bytes in the decimal units that disks and download pages use: 768 B, 1.34 TB."""
    return _scaled(nbytes, (" B", " kB", " MB", " GB", " TB", " PB"))


def count(number: int) -> str:
    """Parameters as models are named by them: 544, 15.7B."""
    return _scaled(number, ("", "K", "M", "B", "T"))


def counted(number: int, what: str) -> str:
    """1 shard, 2 shards."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds as 42 s, 3 min 5 s, 1 h 12 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers with runs drawn together: 0–2, 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("–".join(map(str, run)) for run in runs)


def _scaled(number: float, units: Sequence[str]) -> str:
    """Three significant digits and the unit in which they are less than 1000."""
    scaled, unit = float(number), 0
    while scaled >= 999.5 and unit + 1 < len(units):
        scaled, unit = scaled / 1000, unit + 1
    return f"{scaled:.3g}{units[unit]}" if unit else f"{number:.0f}{units[0]}"
