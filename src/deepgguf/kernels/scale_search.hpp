// The searches for scales in ggml-quants.c, each on LANES blocks at once, one to a lane, in the original's order of
// operations. The originals keep the quantized weights of the best candidate; here its inverse scale is kept, from
// which they can be computed again, since the callers hardly ever need them.
#pragma once
#include "lanes.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

constexpr float NEGLIGIBLE = 1e-15f;  // GROUP_MAX_EPS: a block with nothing larger is all zero

// x is about scale * q - min, q = clamp(nearest_int(inverse * (x - low)), 0, max).
struct ScaleAndMin {
    Floats scale, min, inverse, low;
};

DEEPGGUF_INLINE Ints quantized(const ScaleAndMin & fit, Floats x, int max) {
    return clamp(nearest_int(fit.inverse * (x - fit.low)), 0, max);
}

// A sub-block's levels by its scale and minimum as they are stored; where that scale is zero, the search's are kept.
template <int N>
DEEPGGUF_INLINE void quantize_affine(const Floats * x, Floats scale, Floats min, const ScaleAndMin & fit, int max,
                                     Ints * q) {
    for (int i = 0; i < N; i++) q[i] = clamp(nearest_int((x[i] + min) / scale), 0, max);
    const Mask kept = scale == 0.0f;
    if (any(kept)) {
        for (int i = 0; i < N; i++) q[i] = select(kept, quantized(fit, x[i], max), q[i]);
    }
}

// The inverse scales that a search tries: (first + step * i + max) / range, for i of 0 to count - 1.
struct Grid {
    float first, step;
    int count;
};

// Sub-blocks are searched in pairs: a candidate's sums alone would wait for their own additions.
constexpr int PAIR = 2;

// A sub-block on its way through the grid. As in the originals, a better candidate's minimum is also what later
// candidates measure from.
struct Search {
    const Floats *x, *weight;
    Floats low, high, sum_w, sum_x;
    Floats smallest_range;  // down to which no product exceeds 2^22
    Mask constant;
    Floats min, best_error;
    ScaleAndMin best;
};

// The quantized weight as a float. PLAIN promises |product| <= 2^22.
template <bool PLAIN> DEEPGGUF_INLINE Floats level(Floats product, int max) {
    if (PLAIN) return smaller(larger(nearest(product), splat(0.0f)), splat(static_cast<float>(max)));
    return to_float(clamp(nearest_int(product), 0, max));
}

template <bool ABSOLUTE> DEEPGGUF_INLINE Floats error_of(Floats weight, Floats off) {
    return weight * (ABSOLUTE ? magnitude(off) : off * off);
}

template <int N, int MAX> DEEPGGUF_INLINE void begin(Search & s, const Floats * x, const Floats * weight) {
    s.x = x;
    s.weight = weight;
    s.low = s.high = x[0];
    s.sum_w = weight[0];
    s.sum_x = weight[0] * x[0];
    for (int i = 1; i < N; i++) {
        s.low = smaller(x[i], s.low);
        s.high = larger(x[i], s.high);
        s.sum_w += weight[i];
        s.sum_x += weight[i] * x[i];
    }
    s.low = select(s.low > 0.0f, splat(0.0f), s.low);
    s.constant = s.high == s.low;
    const Floats range = s.high - s.low, inverse = static_cast<float>(MAX) / range;
    // (x - min) / (high - min) is at most 1 and at least -(high - low) / (high - min); the grid goes to MAX + 1.
    s.smallest_range = larger(range * 0x1p-16f, splat(0x1p-100f));
    s.min = s.low;
    s.best = {1.0f / inverse, s.low, inverse, s.low};
}

DEEPGGUF_INLINE Mask extreme(const Search & s) {
    const Floats range = s.high - s.min;
    return ~s.constant & ~((range >= s.smallest_range) & (range <= 0x1p100f));
}

template <int N, int MAX, bool ABSOLUTE, bool PLAIN> DEEPGGUF_INLINE void measure_first(Search * s) {
    for (int k = 0; k < PAIR; k++) s[k].best_error = splat(0.0f);
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < PAIR; k++) {
            const Floats l = level<PLAIN>(s[k].best.inverse * (s[k].x[i] - s[k].low), MAX);
            s[k].best_error += error_of<ABSOLUTE>(s[k].weight[i], s[k].best.scale * l + s[k].low - s[k].x[i]);
        }
    }
}

template <int N, int MAX, bool ABSOLUTE, bool PLAIN> DEEPGGUF_INLINE void try_candidate(Search * s, float levels) {
    Floats q[PAIR][N], inverse[PAIR], sum_l[PAIR] = {}, sum_l2[PAIR] = {}, sum_xl[PAIR] = {};
    for (int k = 0; k < PAIR; k++) inverse[k] = levels / (s[k].high - s[k].min);
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < PAIR; k++) {
            const Floats x = s[k].x[i], l = level<PLAIN>(inverse[k] * (x - s[k].min), MAX), wl = s[k].weight[i] * l;
            q[k][i] = l;
            sum_l[k] += wl;
            sum_l2[k] += wl * l;
            sum_xl[k] += wl * x;
        }
    }
    Floats scale[PAIR], min[PAIR], error[PAIR] = {};
    Mask solvable[PAIR];
    for (int k = 0; k < PAIR; k++) {
        const Floats determinant = s[k].sum_w * sum_l2[k] - sum_l[k] * sum_l[k];
        solvable[k] = determinant > 0.0f;
        min[k] = (sum_l2[k] * s[k].sum_x - sum_l[k] * sum_xl[k]) / determinant;
        const Mask positive = min[k] > 0.0f;
        min[k] = select(positive, splat(0.0f), min[k]);
        scale[k] = select(positive, sum_xl[k], s[k].sum_w * sum_xl[k] - s[k].sum_x * sum_l[k]) /
                   select(positive, sum_l2[k], determinant);
    }
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < PAIR; k++) {
            error[k] += error_of<ABSOLUTE>(s[k].weight[i], scale[k] * q[k][i] + min[k] - s[k].x[i]);
        }
    }
    for (int k = 0; k < PAIR; k++) {
        const Mask better = solvable[k] & (error[k] < s[k].best_error);
        s[k].best_error = select(better, error[k], s[k].best_error);
        s[k].best.scale = select(better, scale[k], s[k].best.scale);
        s[k].best.inverse = select(better, inverse[k], s[k].best.inverse);
        s[k].best.low = select(better, s[k].min, s[k].best.low);
        s[k].min = select(better, min[k], s[k].min);
    }
}

// make_qkx2_quants and make_qkx3_quants for a PAIR of sub-blocks of N weights: scale and minimum, levels of 0 to MAX.
// ABSOLUTE compares candidates by the sum of absolute errors, otherwise by that of squares.
template <int N, int MAX, bool ABSOLUTE>
static inline void search_scale_and_min(const Floats * x, const Floats * weight, const Grid & grid, ScaleAndMin * fit) {
    Search s[PAIR];
    for (int k = 0; k < PAIR; k++) begin<N, MAX>(s[k], x + N * k, weight + N * k);
    if (any(extreme(s[0]) | extreme(s[1]))) measure_first<N, MAX, ABSOLUTE, false>(s);
    else measure_first<N, MAX, ABSOLUTE, true>(s);
    for (int i = 0; i < grid.count; i++) {
        const float levels = grid.first + grid.step * static_cast<float>(i) + static_cast<float>(MAX);
        if (any(extreme(s[0]) | extreme(s[1]))) try_candidate<N, MAX, ABSOLUTE, false>(s, levels);
        else try_candidate<N, MAX, ABSOLUTE, true>(s, levels);
    }
    const Floats zero = splat(0.0f);
    for (int k = 0; k < PAIR; k++) {
        const Mask constant = s[k].constant;
        fit[k] = {select(constant, zero, s[k].best.scale), -select(constant, s[k].low, s[k].min),
                  select(constant, zero, s[k].best.inverse), s[k].best.low};
    }
}

DEEPGGUF_INLINE Ints at_most(Ints value, int max) {
    const Ints limit = splat(max);
    return value < limit ? value : limit;
}

// make_qp_quants: the scale of N values of one sign, levels of 0 to `max` (uint8_t in the original, which wraps what a
// stray negative value makes), with the levels in q.
template <int N> static inline Floats search_positive_scale(const Floats * x, const Floats * weight, int max, Ints * q) {
    Floats largest = splat(0.0f);
    for (int i = 0; i < N; i++) largest = larger(largest, x[i]);
    const Mask negligible = largest < NEGLIGIBLE;
    Floats inverse = static_cast<float>(max) / largest;
    Floats best_error = splat(0.0f);
    const Floats first = 1.0f / inverse;
    for (int i = 0; i < N; i++) {
        const Floats off = x[i] - first * to_float(nearest_int(inverse * x[i]) & 0xFF);
        best_error += weight[i] * off * off;
    }
    for (int step = -4; step <= 4; step++) {
        if (step == 0) continue;
        const Floats candidate = (0.1f * static_cast<float>(step) + static_cast<float>(max)) / largest;
        const Floats scale = 1.0f / candidate;
        Floats error = splat(0.0f);
        for (int i = 0; i < N; i++) {
            const Floats off = x[i] - scale * to_float(at_most(nearest_int(candidate * x[i]), max));
            error += weight[i] * off * off;
        }
        const Mask better = error < best_error;
        best_error = select(better, error, best_error);
        inverse = select(better, candidate, inverse);
    }
    Floats sum_lx = splat(0.0f), sum_l2 = splat(0.0f);
    for (int i = 0; i < N; i++) {
        const Ints l = at_most(nearest_int(inverse * x[i]), max);
        q[i] = l & 0xFF;
        sum_lx += weight[i] * x[i] * to_float(l);
        sum_l2 += weight[i] * to_float(l) * to_float(l);
    }
    Mask active = ~negligible;
    for (int round = 0; round < 5 && any(active); round++) {
        Mask changed = splat(0);
        for (int i = 0; i < N; i++) {
            const Floats w = weight[i], old = to_float(q[i]);
            Floats lx = sum_lx - w * x[i] * old, l2 = sum_l2 - w * old * old;
            const Ints l = at_most(nearest_int(x[i] * l2 / lx), max);
            const Mask tried = active & (lx > 0.0f) & (l2 > 0.0f) & (l != q[i]);
            lx += w * x[i] * to_float(l);
            l2 += w * to_float(l) * to_float(l);
            const Mask better = tried & (lx * lx * sum_l2 > sum_lx * sum_lx * l2);
            q[i] = select(better, l & 0xFF, q[i]);
            sum_lx = select(better, lx, sum_lx);
            sum_l2 = select(better, l2, sum_l2);
            changed |= better;
        }
        active &= changed;
    }
    for (int i = 0; i < N; i++) q[i] = select(negligible, splat(0), q[i]);
    return select(negligible | ~(sum_l2 > 0.0f), splat(0.0f), sum_lx / sum_l2);
}

// x is about scale * (q - max), q = max + clamp(nearest_int(inverse * x), -max, max - 1). A block of nothing but
// negligible weights has scale 0, and all its q are 0 too.
struct Scale {
    Floats scale, inverse;
    Mask negligible;
};

DEEPGGUF_INLINE Ints quantized(const Scale & fit, Floats x, int max) {
    return select(fit.negligible, splat(0), clamp(nearest_int(fit.inverse * x), -max, max - 1) + max);
}

// -max to max - 1 as a float. PLAIN promises |product| <= 2^22.
template <bool PLAIN> DEEPGGUF_INLINE Floats signed_level(Floats product, int max) {
    if (PLAIN) {
        const Floats low = splat(static_cast<float>(-max)), high = splat(static_cast<float>(max - 1));
        return smaller(larger(nearest(product), low), high);
    }
    return to_float(clamp(nearest_int(product), -max, max - 1));
}

// The value of largest magnitude, the first of several.
template <int N> DEEPGGUF_INLINE Floats extremum(const Floats * x) {
    Floats largest = splat(0.0f), found = splat(0.0f);
    for (int i = 0; i < N; i++) {
        const Floats size = magnitude(x[i]);
        const Mask more = size > largest;
        largest = select(more, size, largest);
        found = select(more, x[i], found);
    }
    return found;
}

// A sub-block's levels by its scale as it is stored; where that is zero, what q holds stays.
template <int N> DEEPGGUF_INLINE void quantize_signed(const Floats * x, Floats scale, int max, Ints * q) {
    const Mask kept = scale == 0.0f;
    const bool any_kept = any(kept);
    for (int i = 0; i < N; i++) {
        const Ints l = clamp(nearest_int(x[i] / scale), -max, max - 1) + max;
        q[i] = any_kept ? select(kept, q[i], l) : l;
    }
}

// make_qx_quants (rmse_type 1) for BLOCKS blocks of N values. PLAIN promises finite values; `weight` may be null, the
// values' squares then.
template <int BLOCKS, int N, int MAX, bool PLAIN>
static inline void search_scale(const Floats * x, const Floats * weight, Scale * fit) {
    Floats w[BLOCKS][N], weighted[BLOCKS][N], found[BLOCKS], best_gain[BLOCKS] = {};
    for (int k = 0; k < BLOCKS; k++) {
        found[k] = extremum<N>(x + N * k);
        for (int i = 0; i < N; i++) {
            const Floats value = x[N * k + i];
            w[k][i] = weight ? weight[N * k + i] : value * value;
            weighted[k][i] = w[k][i] * value;
        }
    }
    for (int candidate = 0; candidate < 19; candidate++) {
        // The middle of the grid comes first, and then no more.
        const int step = candidate == 0 ? 0 : candidate <= 9 ? candidate - 10 : candidate - 9;
        const float levels = -(static_cast<float>(MAX) + 0.1f * static_cast<float>(step));
        Floats inverse[BLOCKS], sum_lx[BLOCKS] = {}, sum_l2[BLOCKS] = {};
        for (int k = 0; k < BLOCKS; k++) inverse[k] = levels / found[k];
        for (int i = 0; i < N; i++) {
            for (int k = 0; k < BLOCKS; k++) {
                const Floats l = signed_level<PLAIN>(inverse[k] * x[N * k + i], MAX);
                sum_lx[k] += weighted[k][i] * l;
                sum_l2[k] += w[k][i] * l * l;
            }
        }
        for (int k = 0; k < BLOCKS; k++) {
            const Floats scale = sum_lx[k] / sum_l2[k];
            if (candidate == 0) {
                fit[k].scale = select(sum_l2[k] == 0.0f, splat(0.0f), scale);
                fit[k].inverse = inverse[k];
                best_gain[k] = fit[k].scale * sum_lx[k];
                continue;
            }
            const Mask better = (sum_l2[k] > 0.0f) & (sum_lx[k] * sum_lx[k] > best_gain[k] * sum_l2[k]);
            fit[k].scale = select(better, scale, fit[k].scale);
            fit[k].inverse = select(better, inverse[k], fit[k].inverse);
            best_gain[k] = select(better, scale * sum_lx[k], best_gain[k]);
        }
    }
    for (int k = 0; k < BLOCKS; k++) {
        fit[k].negligible = magnitude(found[k]) < NEGLIGIBLE;
        fit[k].scale = select(fit[k].negligible, splat(0.0f), fit[k].scale);
    }
}

// make_q3_quants (do_rmse) for a PAIR of blocks of N values: from the nearest levels of -MAX to MAX - 1, one weight's
// level at a time is changed while that helps, in at most five rounds. q are the levels plus MAX (zeros for a block of
// nothing but negligible weights).
template <int N, int MAX> static inline void improve_levels(const Floats * x, Ints * q, Floats * scale) {
    Floats w[PAIR][N], weighted[PAIR][N], level[PAIR][N], sum_lx[PAIR] = {}, sum_l2[PAIR] = {};
    Mask negligible[PAIR], active[PAIR];
    for (int k = 0; k < PAIR; k++) {
        const Floats largest = extremum<N>(x + N * k), inverse = static_cast<float>(-MAX) / largest;
        negligible[k] = magnitude(largest) < NEGLIGIBLE;
        active[k] = ~negligible[k];
        for (int i = 0; i < N; i++) {
            const Floats value = x[N * k + i], l = signed_level<true>(inverse * value, MAX);
            w[k][i] = value * value;
            weighted[k][i] = w[k][i] * value;
            level[k][i] = l;
            sum_lx[k] += weighted[k][i] * l;
            sum_l2[k] += w[k][i] * l * l;
        }
    }
    for (int round = 0; round < 5 && any(active[0] | active[1]); round++) {
        Mask changed[PAIR] = {};
        for (int i = 0; i < N; i++) {
            for (int k = 0; k < PAIR; k++) {
                const Floats old = level[k][i];
                Floats lx = sum_lx[k] - weighted[k][i] * old, l2 = sum_l2[k] - w[k][i] * old * old;
                const Floats l = signed_level<false>(x[N * k + i] * l2 / lx, MAX);
                const Mask tried = active[k] & (lx > 0.0f) & (l != old);
                lx += weighted[k][i] * l;
                l2 += w[k][i] * l * l;
                const Mask better = tried & (l2 > 0.0f) & (lx * lx * sum_l2[k] > sum_lx[k] * sum_lx[k] * l2);
                level[k][i] = select(better, l, old);
                sum_lx[k] = select(better, lx, sum_lx[k]);
                sum_l2[k] = select(better, l2, sum_l2[k]);
                changed[k] |= better;
            }
        }
        for (int k = 0; k < PAIR; k++) active[k] &= changed[k];
    }
    for (int k = 0; k < PAIR; k++) {
        for (int i = 0; i < N; i++) {
            q[N * k + i] = select(negligible[k], splat(0), __builtin_convertvector(level[k][i], Ints) + MAX);
        }
        scale[k] = select(negligible[k] | ~(sum_l2[k] > 0.0f), splat(0.0f), sum_lx[k] / sum_l2[k]);
    }
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
