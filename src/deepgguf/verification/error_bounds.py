"""How far a quantized weight may be from its source, if the quantizer was right.

The rule follows from what all of ggml's quantizers do: they search for a block's scales, store them, and give every
weight the nearest of the levels that the scales make.

- Within the range of the levels the error is therefore the distance to the nearest level, at most half a step. To the
  K types this applies to the last bit, because they choose the level by the stored scale. Q8_0, Q4_0, Q4_1, Q5_0, Q5_1
  and the IQ4 types choose it by the scale before its rounding to float16: both the level taken and the one that would
  be nearest now may be off by half a unit in the last place of float16, times the level.
- Beyond the range the last level is nearest. How far beyond a weight may be is not bounded by the scale, since a search
  may give a weight up for the sake of others; it is bounded here by the block's largest weight (`given_up`), from what
  was measured over normal, uniform, heavy-tailed, sparse and constant rows, with a margin.
- Where an importance matrix was used, Q4_0, Q4_1, Q5_0 and Q5_1 keep the levels of the search with a scale fitted
  afterwards, and weights that do not matter may get any level: only the bound by the largest weight remains.
- The i-quants choose the levels of four or eight weights together, as a point near them: only that bound remains too.
- Q1_0 does not search: its scale is the mean magnitude, and what the errors are follows.

An exchanged expert, a transposed matrix or a wrong scale breaks the first rule in most weights, and a changed code in
one. A block of nothing but zeros is right only where its weights are next to nothing, or an importance matrix declares
all its larger weights to be worth nothing. What the bound of single weights cannot see, the error of the whole tensor
shows: see `Quantized.largest_rms`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Bytes, Floats
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType, block_of

_Doubles = NDArray[np.float64]


class Importance(NamedTuple):
    """That a tensor was quantized by an importance matrix: that of its `columns`, float32 [cols], if it is at hand."""

    columns: Floats | None = None


_HALF_ULP = 2.0**-11  # of a normal float16, relative
_TINY_ULP = 2.0**-25  # half the smallest float16
_ROUNDING = 2.0**-18  # float32 arithmetic of the choice itself, with cancellation

_RUN = 2**16  # weights at a time: more than the cache holds takes eight times as long

# How far beyond its levels a weight may be with an importance matrix, over the block's largest weight. Measured: 5.9,
# as a line fitted to the weights that matter can pass the others at any distance.
_GIVEN_UP_WEIGHTED = 16.0

# A column counts for nothing in a block if its importance is so much less than the block's largest, or if it times the
# weight underflows in the quantizers' float32 sums.
_NEGLIGIBLE = 1e-6
_UNDERFLOWS = 1e-36

_TOO_SMALL_FOR_A_SCALE = 1 / 8  # weights of this part of the largest may all get the level 0 by its scale


def allowed_error(type: GGMLType, data: Bytes, source: Floats, importance: Importance | None = None) -> Floats:
    """The largest |source − decoded| that a right quantizer leaves, weight by weight.

    `type` is a quantized one. `data` uint8 [rows, row_bytes(type, cols)], `source` float32 [rows, cols], the result
    float32 [rows, cols]; `importance` where an importance matrix was used. Compare with `~(error <= allowed)`, so
    that NaN does not pass.
    """
    encoding = encoding_of(type)
    assert isinstance(encoding, Quantized)
    rows = max(1, _RUN // source.shape[1])
    allowed = np.empty(source.shape, np.float32)
    for run in (slice(start, start + rows) for start in range(0, len(source), rows)):
        allowed[run] = _allowed_in_blocks(encoding, data[run], source[run], importance)
    return allowed


def counted(columns: Floats, source: Floats, block: int) -> NDArray[np.bool_]:
    """The weights of `source` [rows, cols] that count for something by the importance of their columns."""
    blocks = np.abs(source).reshape(len(source), -1, block).astype(np.float64)
    importance = columns.reshape(1, -1, block)
    enough = importance >= _NEGLIGIBLE * importance.max(axis=-1, keepdims=True)
    return np.asarray(enough & (importance * blocks > _UNDERFLOWS)).reshape(source.shape)


def _allowed_in_blocks(encoding: Quantized, data: Bytes, source: Floats, importance: Importance | None) -> Floats:
    groups, block = encoding.split(data, source.shape[1]), block_of(encoding.type).weights
    weights = source.reshape(groups.levels.shape).astype(np.float64)
    step = groups.step[..., None].astype(np.float64)
    offset = np.zeros_like(step) if groups.offset is None else groups.offset[..., None].astype(np.float64)
    largest = np.abs(weights).reshape(-1, block).max(axis=1)[:, None, None]
    given_up = (_GIVEN_UP_WEIGHTED if importance else encoding.given_up) * largest + _underflow(encoding)
    if encoding.mean_as_step:
        mean: _Doubles = np.abs(weights).mean(axis=-1, keepdims=True)
        allowed = np.abs(np.abs(weights) - mean) + _slack(encoding, weights, mean, offset)
    elif encoding.chosen_together or (importance and encoding.level_from_search):
        allowed = np.broadcast_to(given_up, weights.shape)
    else:
        inside, beyond = _distances(encoding.levels, weights, step, offset)
        allowed = inside + np.minimum(beyond, given_up) + _slack(encoding, weights, step, offset)
    if importance:
        empty = ~(groups.values().reshape(-1, block) != 0).any(axis=1) & ~_worthless(source, block, importance.columns)
        allowed = np.where(empty[:, None, None], _no_scale(encoding), allowed)
    return allowed.astype(np.float32).reshape(source.shape)


def _worthless(source: Floats, block: int, columns: Floats | None) -> NDArray[np.bool_]:
    """The blocks whose larger weights count for nothing, by block; none if the importance is not at hand."""
    weights = np.abs(source).reshape(-1, block)
    if columns is None:
        return np.zeros(len(weights), np.bool_)
    worth = np.where(counted(columns, source, block), np.abs(source), 0).reshape(-1, block)
    return np.asarray(worth.max(axis=1) <= _TOO_SMALL_FOR_A_SCALE * weights.max(axis=1))


def _distances(levels: Floats, weights: _Doubles, step: _Doubles, offset: _Doubles) -> tuple[_Doubles, _Doubles]:
    """The distance of every weight to the nearest level within the levels' range, and its distance beyond the range."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        ends = step * levels[[0, -1]] + offset
        within = np.clip(weights, ends.min(axis=-1, keepdims=True), ends.max(axis=-1, keepdims=True))
        place = np.where(step == 0, levels[0], (within - offset) / step)
        return np.abs(place - _nearest(levels, place)) * np.abs(step), np.abs(weights - within)


def _nearest(levels: Floats, place: _Doubles) -> _Doubles:
    if np.all(np.diff(levels) == 1):
        return np.asarray(np.rint(place))
    return np.take(levels, np.searchsorted((levels[1:] + levels[:-1]) / 2, place)).astype(np.float64)


def _slack(encoding: Quantized, weights: _Doubles, step: _Doubles, offset: _Doubles) -> _Doubles:
    """What rounding adds: of the arithmetic, and of the scales where the level was chosen before they were rounded."""
    span = float(np.abs(encoding.levels).max())
    slack = _ROUNDING * (span * np.abs(step) + np.abs(offset) + np.abs(weights))
    if encoding.level_before_rounding:
        tiny = _TINY_ULP * encoding.largest_subscale
        slack += 2 * span * np.maximum(_HALF_ULP * np.abs(step), tiny)
        slack += 2 * np.maximum(_HALF_ULP * np.abs(offset), tiny)
    return slack


def _underflow(encoding: Quantized) -> float:
    """The largest weight of a block whose scales are too small for float16 and become 0 or the smallest one."""
    if not encoding.f16_scales:
        return encoding.largest_lost
    return 2 * _TINY_ULP * encoding.largest_subscale * len(encoding.levels)


def _no_scale(encoding: Quantized) -> float:
    """The largest weight of a block that has no scale but 0."""
    return max(_underflow(encoding), 2 * _TINY_ULP * encoding.largest_subscale * float(np.abs(encoding.levels).max()))
