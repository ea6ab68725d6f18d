"""Areas in proportion to numbers, as nearly square as can be: squarified treemaps (Bruls, Huizing, van Wijk 2000)."""

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


def squarified(sizes: Sequence[float], box: Box) -> list[Box]:
    """A box for each of `sizes`, which are above 0 and descend; together they fill `box`."""
    scale = box.width * box.height / sum(sizes) if sizes else 0
    areas, placed, left = [size * scale for size in sizes], list[Box](), box
    while len(placed) < len(areas):
        row = _row(areas[len(placed) :], min(left.width, left.height))
        boxes, left = _place(row, left)
        placed += boxes
    return placed


def _row(areas: Sequence[float], side: float) -> Sequence[float]:
    """As many of the first areas as make the row's worst box better, along the shorter `side` of what is left."""
    count = 1
    while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(areas[:count], side):
        count += 1
    return areas[:count]


def _worst(row: Sequence[float], side: float) -> float:
    """The largest ratio of a box's sides in a row; the areas descend."""
    whole = sum(row)
    if not whole or not side:
        return float("inf")
    return max(side**2 * row[0] / whole**2, whole**2 / (side**2 * row[-1]))


def _place(row: Sequence[float], left: Box) -> tuple[list[Box], Box]:
    """The boxes of a row along the shorter side, and what is left beside it."""
    whole, boxes = sum(row), list[Box]()
    if left.width >= left.height:
        width, y = (whole / left.height if left.height else 0), left.y
        for area in row:
            height = area / width if width else 0
            boxes.append(Box(left.x, y, width, height))
            y += height
        return boxes, Box(left.x + width, left.y, max(0.0, left.width - width), left.height)
    height, x = (whole / left.width if left.width else 0), left.x
    for area in row:
        width = area / height if height else 0
        boxes.append(Box(x, left.y, width, height))
        x += width
    return boxes, Box(left.x, left.y + height, left.width, max(0.0, left.height - height))
