// The search among a list of points for the one with the smallest error, as iq2_find_best_neighbour and its like in
// ggml-quants.c, with the same bits: LANES points at a time, each summing its terms in the original's order. A term
// depends on the level only, so there is a small table of them for each coordinate.
#pragma once
#include "lattice.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

constexpr float FLOAT_MAX = 0x1.fffffep+127f;

// Bit k says whether lane k holds.
DEEPGGUF_INLINE uint32_t lanes_of(Mask mask) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
#elif defined(__AVX2__)
    return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#elif defined(__SSE2__) && DEEPGGUF_LANES == 4
    return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(mask)));
#else
    uint32_t bits = 0;
    for (int k = 0; k < LANES; k++) bits |= static_cast<uint32_t>(mask[k] & 1) << k;
    return bits;
#endif
}

// The smallest of the lanes, none of which is NaN.
DEEPGGUF_INLINE float smallest_lane(Floats f) {
#if defined(__AVX2__)
    __m256 eight[LANES / 8];
    memcpy(eight, &f, sizeof f);
    const __m256 both = _mm256_min_ps(eight[0], eight[LANES / 8 - 1]);
    __m128 half = _mm_min_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
    half = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(half, _mm_movehdup_ps(half)));
#else
    float lane[LANES];
    memcpy(lane, &f, sizeof lane);
    for (int k = 1; k < LANES; k++) lane[0] = lane[k] < lane[0] ? lane[k] : lane[0];
    return lane[0];
#endif
}

DEEPGGUF_INLINE Ints load_codes(const uint16_t * codes) {
    typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));
    Halves halves;
    memcpy(&halves, codes, sizeof halves);
    return __builtin_convertvector(halves, Ints);
}

// Something for each level: lane i is of level i, again and again. A vector is too short for eight levels where LANES is 4.
constexpr int PARTS = LANES < 8 ? 2 : 1;
struct ByLevel {
    Floats part[PARTS];
};

template <class Points> static inline ByLevel by_level(const float values[Points::LEVELS]) {
    constexpr int PERIOD = Points::LEVELS <= 4 ? 4 : 8;
    float all[PARTS * LANES];
    for (int i = 0; i < PARTS * LANES; i++) all[i] = i % PERIOD < Points::LEVELS ? values[i % PERIOD] : 0.0f;
    ByLevel result;
    memcpy(&result, all, sizeof result);
    return result;
}

// Whatever is in `table` for the level in the lowest bits of each lane.
template <class Points> DEEPGGUF_INLINE Floats look_up(const ByLevel & table, Ints levels) {
#if defined(__AVX512F__)
    return Points::LEVELS <= 4 ? _mm512_maskz_permutevar_ps(0xFFFF, table.part[0], reinterpret_cast<__m512i>(levels))
                               : _mm512_maskz_permutexvar_ps(0xFFFF, reinterpret_cast<__m512i>(levels), table.part[0]);
#elif defined(__AVX2__)
    return Points::LEVELS <= 4 ? _mm256_permutevar_ps(table.part[0], reinterpret_cast<__m256i>(levels))
                               : _mm256_permutevar8x32_ps(table.part[0], reinterpret_cast<__m256i>(levels));
#else
    float from[PARTS * LANES], to[LANES];
    int32_t index[LANES];
    memcpy(from, &table, sizeof from);
    memcpy(index, &levels, sizeof index);
    for (int k = 0; k < LANES; k++) to[k] = from[index[k] & ((1 << Points::BITS) - 1)];
    Floats found;
    memcpy(&found, to, sizeof found);
    return found;
#endif
}

// Weights of a vector: their values, what an error weighs, and what the levels stand for at scale 1.
struct Target {
    const float *x, *weight;
    const ByLevel * levels;
};

struct Found {
    uint16_t code;
    bool certain;  // no other comes within `doubt`
};

// Where no error is less than FLT_MAX, ggml ends itself; here it is the first point.
template <class Points>
static inline Found nearest_point(const uint16_t * list, int count, const Target & target, float scale, float doubt) {
    ByLevel terms[Points::COORDS];
    for (int j = 0; j < Points::COORDS; j++) {
        for (int p = 0; p < PARTS; p++) {
            const Floats off = scale * target.levels->part[p] - target.x[j];
            terms[j].part[p] = target.weight[j] * off * off;
        }
    }
    constexpr int MOST = (Points::POINTS < 304 ? Points::POINTS : 304) / LANES + 1;
    Floats error[MOST], best = splat(FLOAT_MAX);
    const int vectors = (count + LANES - 1) / LANES;
    for (int v = 0; v < vectors; v++) {
        Ints codes = load_codes(list + v * LANES);
        Floats sum = look_up<Points>(terms[0], codes);
        for (int j = 1; j < Points::COORDS; j++) {
            codes >>= Points::BITS;
            sum += look_up<Points>(terms[j], codes);
        }
        error[v] = sum;
        best = smaller(sum, best);
    }
    const float smallest = smallest_lane(best);
    const uint32_t used = (2u << (count - 1) % LANES) - 1u;
    int within = 0, first = -1;
    for (int v = 0; v < vectors; v++) {
        uint32_t lanes = lanes_of(error[v] <= splat(smallest + doubt));
        if (v == vectors - 1) lanes &= used;
        within += __builtin_popcount(lanes);
        const uint32_t equal = lanes_of(error[v] == splat(smallest));
        if (first < 0 && equal) first = v * LANES + __builtin_ctz(equal);
    }
    return {list[first < 0 ? 0 : first], within == 1};
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
