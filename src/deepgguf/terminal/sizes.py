"""Numbers as people read them."""


def size(nbytes: float) -> str:
    """Bytes in the decimal units that disks and download pages use."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(nbytes) < 1000:
            return (
                f"{nbytes:.0f} {unit}"
                if unit == "B"
                else f"{nbytes:.3g} {unit}"
                if nbytes < 100
                else f"{nbytes:.0f} {unit}"
            )
        nbytes /= 1000
    return f"{nbytes:,.2f} TB"


def duration(seconds: float) -> str:
    """Seconds as 42 s, 3 min 5 s, 1 h 12 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
