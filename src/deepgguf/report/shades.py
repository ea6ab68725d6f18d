"""Numbers to the classes of a page's colors: bits per weight, and relative errors; with their colors."""

from bisect import bisect_left, bisect_right

_BITS = (2, 3, 4, 5, 6, 8, 16, 32)
_ERRORS = (0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.2)

BITS_LEGEND = tuple(
    (f"b{n}", label) for n, label in enumerate(("under 2", "2–3", "3–4", "4–5", "5–6", "6–8", "8–16", "16–32", "32"))
)
ERROR_LEGEND = tuple(
    (f"e{n}", label)
    for n, label in enumerate(
        (*(f"up to {bound:.3g} %" for bound in (100 * error for error in _ERRORS)), f"over {100 * _ERRORS[-1]:.3g} %")
    )
)

# Lightness, chroma and hue (OKLCH) of b0, b1, … and of e0, e1, …
BITS_SHADES = (
    (0.97, 0.05, 105), (0.92, 0.09, 120), (0.86, 0.11, 145), (0.79, 0.11, 170), (0.71, 0.11, 205),
    (0.63, 0.12, 235), (0.52, 0.14, 255), (0.42, 0.14, 270), (0.32, 0.12, 285),
)  # fmt: skip
ERROR_SHADES = (
    (0.97, 0.03, 95), (0.92, 0.07, 90), (0.86, 0.11, 80), (0.78, 0.14, 65), (0.69, 0.16, 50), (0.58, 0.18, 35),
    (0.47, 0.17, 25), (0.34, 0.13, 15),
)  # fmt: skip


def shade_of_bits(bits: float) -> str:
    """b0 (under 2 bits) to b8 (32)."""
    return f"b{bisect_right(_BITS, bits)}"


def shade_of_error(error: float) -> str:
    """e0 (up to 0.1 %) to e7 (over 20 %)."""
    return f"e{bisect_left(_ERRORS, error)}"


def bound_of_error(error: float) -> str:
    """The same in words."""
    return dict(ERROR_LEGEND)[shade_of_error(error)]
