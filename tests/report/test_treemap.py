import math

from hypothesis import given
from hypothesis import strategies as st

from deepgguf.report.treemap import Box, squarified

SIZES = st.lists(st.integers(1, 10**9), min_size=1, max_size=60).map(lambda sizes: sorted(sizes, reverse=True))


@given(SIZES)
def test_every_area_is_its_share(sizes):
    boxes = squarified(sizes, Box(0, 0, 100, 50))
    for size, box in zip(sizes, boxes, strict=True):
        assert math.isclose(box.width * box.height, size / sum(sizes) * 5000, rel_tol=1e-6)


@given(SIZES)
def test_boxes_stay_inside_and_do_not_overlap(sizes):
    boxes = squarified(sizes, Box(0, 0, 100, 50))
    for box in boxes:
        assert box.x >= 0 and box.y >= 0
        assert box.x + box.width <= 100 + 1e-3 and box.y + box.height <= 50 + 1e-3
    for number, a in enumerate(boxes):
        for b in boxes[:number]:
            wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
            high = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
            assert wide < 1e-3 or high < 1e-3


def test_boxes_are_those_of_the_paper():
    """Bruls, Huizing, van Wijk, figure 4: areas 6, 6, 4, 3, 2, 2, 1 in a rectangle of 6 by 4."""
    boxes = squarified([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))
    assert [(round(b.width, 2), round(b.height, 2)) for b in boxes] == [
        (3, 2), (3, 2), (1.71, 2.33), (1.29, 2.33), (1.2, 1.67), (1.2, 1.67), (0.6, 1.67)
    ]  # fmt: skip
