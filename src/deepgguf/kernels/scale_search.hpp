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

// Sub-blocks are searched GROUP at a time, since one alone would wait for its own additions and divisions; PAIR of them
// have their sums in registers.
constexpr int GROUP = 4, PAIR = 2;

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

// What is known of one candidate of a sub-block.
template <int N> struct Candidate {
    Floats q[N], inverse, sum_l, sum_l2, sum_xl, scale, min, error;
    Mask solvable;
};

// The quantized weight as a float. PLAIN promises |product| <= 2^22.
template <bool PLAIN> DEEPGGUF_INLINE Floats level(Floats product, int max) {
    if (PLAIN) return smaller(larger(nearest(product), splat(0.0f)), splat(static_cast<float>(max)));
    return to_float(clamp(nearest_int(product), 0, max));
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

// Whether any product could exceed what PLAIN promises.
DEEPGGUF_INLINE bool any_extreme(const Search * s) {
    Mask extreme = splat(0);
    for (int k = 0; k < GROUP; k++) {
        const Floats range = s[k].high - s[k].min;
        extreme |= ~s[k].constant & ~((range >= s[k].smallest_range) & (range <= 0x1p100f));
    }
    return any(extreme);
}

// The candidate's levels, and the sums that a fit of scale and minimum to them needs.
template <int N, int MAX, bool PLAIN> DEEPGGUF_INLINE void sum_up(const Search * s, Candidate<N> * c) {
    Floats sum_l[PAIR] = {}, sum_l2[PAIR] = {}, sum_xl[PAIR] = {};
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < PAIR; k++) {
            const Floats x = s[k].x[i], l = level<PLAIN>(c[k].inverse * (x - s[k].min), MAX), wl = s[k].weight[i] * l;
            c[k].q[i] = l;
            sum_l[k] += wl;
            sum_l2[k] += wl * l;
            sum_xl[k] += wl * x;
        }
    }
    for (int k = 0; k < PAIR; k++) {
        c[k].sum_l = sum_l[k];
        c[k].sum_l2 = sum_l2[k];
        c[k].sum_xl = sum_xl[k];
    }
}

// Least squares; a minimum above zero is not allowed.
template <int N> DEEPGGUF_INLINE void solve(const Search & s, Candidate<N> & c) {
    const Floats determinant = s.sum_w * c.sum_l2 - c.sum_l * c.sum_l;
    const Floats min = (c.sum_l2 * s.sum_x - c.sum_l * c.sum_xl) / determinant;
    const Mask positive = min > 0.0f;
    c.solvable = determinant > 0.0f;
    c.min = select(positive, splat(0.0f), min);
    c.scale = select(positive, c.sum_xl, s.sum_w * c.sum_xl - s.sum_x * c.sum_l) /
              select(positive, c.sum_l2, determinant);
}

template <int N, bool ABSOLUTE> DEEPGGUF_INLINE void measure(const Search * s, Candidate<N> * c) {
    Floats error[GROUP] = {};
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < GROUP; k++) {
            const Floats off = c[k].scale * c[k].q[i] + c[k].min - s[k].x[i];
            error[k] += s[k].weight[i] * (ABSOLUTE ? magnitude(off) : off * off);
        }
    }
    for (int k = 0; k < GROUP; k++) c[k].error = error[k];
}

template <int N> DEEPGGUF_INLINE void keep_if_better(Search & s, const Candidate<N> & c) {
    const Mask better = c.solvable & (c.error < s.best_error);
    s.best_error = select(better, c.error, s.best_error);
    s.best.scale = select(better, c.scale, s.best.scale);
    s.best.inverse = select(better, c.inverse, s.best.inverse);
    s.best.low = select(better, s.min, s.best.low);
    s.min = select(better, c.min, s.min);
}

// The candidate that spans the range exactly, with neither scale nor minimum fitted.
template <int N, int MAX, bool ABSOLUTE, bool PLAIN> DEEPGGUF_INLINE void start_with_range(Search * s) {
    Candidate<N> c[GROUP];
    for (int k = 0; k < GROUP; k++) {
        for (int i = 0; i < N; i++) c[k].q[i] = level<PLAIN>(s[k].best.inverse * (s[k].x[i] - s[k].low), MAX);
        c[k].scale = s[k].best.scale;
        c[k].min = s[k].low;
    }
    measure<N, ABSOLUTE>(s, c);
    for (int k = 0; k < GROUP; k++) s[k].best_error = c[k].error;
}

template <int N, int MAX, bool ABSOLUTE, bool PLAIN> DEEPGGUF_INLINE void try_candidate(Search * s, float levels) {
    Candidate<N> c[GROUP];
    for (int k = 0; k < GROUP; k++) c[k].inverse = levels / (s[k].high - s[k].min);
    for (int k = 0; k < GROUP; k += PAIR) sum_up<N, MAX, PLAIN>(s + k, c + k);
    for (int k = 0; k < GROUP; k++) solve<N>(s[k], c[k]);
    measure<N, ABSOLUTE>(s, c);
    for (int k = 0; k < GROUP; k++) keep_if_better<N>(s[k], c[k]);
}

// make_qkx2_quants and make_qkx3_quants for a GROUP of sub-blocks of N weights: scale and minimum, levels of 0 to MAX.
// ABSOLUTE compares candidates by the sum of absolute errors, otherwise by that of squares.
template <int N, int MAX, bool ABSOLUTE>
static inline void search_scale_and_min(const Floats * x, const Floats * weight, const Grid & grid, ScaleAndMin * fit) {
    Search s[GROUP];
    for (int k = 0; k < GROUP; k++) begin<N, MAX>(s[k], x + N * k, weight + N * k);
    if (any_extreme(s)) start_with_range<N, MAX, ABSOLUTE, false>(s);
    else start_with_range<N, MAX, ABSOLUTE, true>(s);
    for (int i = 0; i < grid.count; i++) {
        const float levels = grid.first + grid.step * static_cast<float>(i) + static_cast<float>(MAX);
        if (any_extreme(s)) try_candidate<N, MAX, ABSOLUTE, false>(s, levels);
        else try_candidate<N, MAX, ABSOLUTE, true>(s, levels);
    }
    const Floats zero = splat(0.0f);
    for (int k = 0; k < GROUP; k++) {
        const Mask constant = s[k].constant;
        fit[k] = {select(constant, zero, s[k].best.scale), -select(constant, s[k].low, s[k].min),
                  select(constant, zero, s[k].best.inverse), s[k].best.low};
    }
}

DEEPGGUF_INLINE Ints at_most(Ints value, int max) {
    const Ints limit = splat(max);
    return value < limit ? value : limit;
}

// The inverse scale of the nine around max / largest with which levels of 0 to `max` err least.
template <int N>
DEEPGGUF_INLINE Floats search_positive_inverse(const Floats * x, const Floats * weight, int max, Floats largest) {
    Floats best = static_cast<float>(max) / largest;
    Floats best_error = splat(0.0f);
    const Floats first = 1.0f / best;
    for (int i = 0; i < N; i++) {
        const Floats off = x[i] - first * to_float(nearest_int(best * x[i]) & 0xFF);
        best_error += weight[i] * off * off;
    }
    for (int step = -4; step <= 4; step++) {
        if (step == 0) continue;
        const Floats inverse = (0.1f * static_cast<float>(step) + static_cast<float>(max)) / largest;
        const Floats scale = 1.0f / inverse;
        Floats error = splat(0.0f);
        for (int i = 0; i < N; i++) {
            const Floats off = x[i] - scale * to_float(at_most(nearest_int(inverse * x[i]), max));
            error += weight[i] * off * off;
        }
        const Mask better = error < best_error;
        best_error = select(better, error, best_error);
        best = select(better, inverse, best);
    }
    return best;
}

// make_qp_quants: the scale of N values of one sign, levels of 0 to `max`, with the levels in q. They are uint8_t in
// the original, which wraps what a stray negative value makes. From the best of a grid of scales, one value's level at
// a time is changed while that helps, in at most five rounds.
template <int N>
static inline Floats search_positive_scale(const Floats * x, const Floats * weight, int max, Ints * q) {
    Floats largest = splat(0.0f);
    for (int i = 0; i < N; i++) largest = larger(largest, x[i]);
    const Mask negligible = largest < NEGLIGIBLE;
    const Floats inverse = search_positive_inverse<N>(x, weight, max, largest);
    Floats sum_lx = splat(0.0f), sum_l2 = splat(0.0f);
    for (int i = 0; i < N; i++) {
        const Ints l = at_most(nearest_int(inverse * x[i]), max);
        q[i] = select(negligible, splat(0), l & 0xFF);
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

// The largest magnitude, 0 if there is none. Each part is compared on its own: one chain of comparisons is slow.
template <int N> DEEPGGUF_INLINE Floats largest_magnitude(const Floats * x) {
    constexpr int PARTS = 4;
    Floats largest[PARTS] = {};
    for (int i = 0; i < N; i += PARTS) {
        for (int p = 0; p < PARTS; p++) largest[p] = larger(magnitude(x[i + p]), largest[p]);
    }
    return larger(larger(largest[0], largest[1]), larger(largest[2], largest[3]));
}

// The value of largest magnitude, the first of several; 0 if there is none.
template <int N> DEEPGGUF_INLINE Floats extremum(const Floats * x) {
    const Floats largest = largest_magnitude<N>(x);
    Floats found = splat(0.0f);
    for (int i = N - 1; i >= 0; i--) found = select(magnitude(x[i]) == largest, x[i], found);
    return select(largest > 0.0f, found, splat(0.0f));
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

// What the candidates for a block's scale share. The weights are the importances, or the values' squares.
template <int N> struct ScaleSearch {
    const Floats * x;
    Floats w[N], weighted[N];  // the weights, alone and times the values
    Floats extremum, best_gain;
    Scale best;
};

// Tries inverse scales of levels[k] / extremum; FIRST takes it in any case. One candidate alone would wait for its own
// additions, so it is K of them that share what is loaded.
template <int K, int N, int MAX, bool PLAIN, bool FIRST>
DEEPGGUF_INLINE void try_scales(ScaleSearch<N> & s, const float * levels) {
    Floats inverse[K], sum_lx[K] = {}, sum_l2[K] = {};
    for (int k = 0; k < K; k++) inverse[k] = levels[k] / s.extremum;
    for (int i = 0; i < N; i++) {
        const Floats x = s.x[i], w = s.w[i], weighted = s.weighted[i];
        for (int k = 0; k < K; k++) {
            const Floats l = signed_level<PLAIN>(inverse[k] * x, MAX);
            sum_lx[k] += weighted * l;
            sum_l2[k] += w * l * l;
        }
    }
    for (int k = 0; k < K; k++) {
        const Floats scale = sum_lx[k] / sum_l2[k];
        if (FIRST) {
            s.best.scale = select(sum_l2[k] == 0.0f, splat(0.0f), scale);
            s.best.inverse = inverse[k];
            s.best_gain = s.best.scale * sum_lx[k];
        } else {
            const Mask better = (sum_l2[k] > 0.0f) & (sum_lx[k] * sum_lx[k] > s.best_gain * sum_l2[k]);
            s.best.scale = select(better, scale, s.best.scale);
            s.best.inverse = select(better, inverse[k], s.best.inverse);
            s.best_gain = select(better, scale * sum_lx[k], s.best_gain);
        }
    }
}

// make_qx_quants (rmse_type 1) for N values. PLAIN promises finite values; `weight` may be null, the values' squares
// then.
template <int N, int MAX, bool PLAIN> static inline Scale search_scale(const Floats * x, const Floats * weight) {
    constexpr int K = 3, STEPS = 9;
    ScaleSearch<N> s;
    s.x = x;
    s.extremum = extremum<N>(x);
    s.best.negligible = magnitude(s.extremum) < NEGLIGIBLE;
    for (int i = 0; i < N; i++) {
        s.w[i] = weight ? weight[i] : x[i] * x[i];
        s.weighted[i] = s.w[i] * x[i];
    }
    const float middle = -static_cast<float>(MAX);
    try_scales<1, N, MAX, PLAIN, true>(s, &middle);
    for (int first = -STEPS; first <= STEPS; first += K) {
        if (first == 0) first++;
        float levels[K];
        for (int k = 0; k < K; k++) levels[k] = -(static_cast<float>(MAX) + 0.1f * static_cast<float>(first + k));
        try_scales<K, N, MAX, PLAIN, false>(s, levels);
    }
    s.best.scale = select(s.best.negligible, splat(0.0f), s.best.scale);
    return s.best;
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
