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

// The smallest of the lanes, none of which is NaN, in every lane.
DEEPGGUF_INLINE Floats smallest_everywhere(Floats f) {
#if defined(__AVX2__)
    __m256 eight[LANES / 8];
    memcpy(eight, &f, sizeof f);
    __m256 both = _mm256_min_ps(eight[0], eight[LANES / 8 - 1]);
    both = _mm256_min_ps(both, _mm256_permute2f128_ps(both, both, 1));
    both = _mm256_min_ps(both, _mm256_permute_ps(both, 0x4E));
    both = _mm256_min_ps(both, _mm256_permute_ps(both, 0xB1));
    for (__m256 & part : eight) part = both;
    memcpy(&f, eight, sizeof f);
    return f;
#else
    float lane[LANES];
    memcpy(lane, &f, sizeof lane);
    for (int k = 1; k < LANES; k++) lane[0] = lane[k] < lane[0] ? lane[k] : lane[0];
    return splat(lane[0]);
#endif
}

// The same for two vectors at once.
DEEPGGUF_INLINE void spread_smallest(Floats f[2]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    const __m256 halves = _mm256_min_ps(_mm256_unpacklo_ps(f[0], f[1]), _mm256_unpackhi_ps(f[0], f[1]));
    const __m256 both = _mm256_min_ps(halves, _mm256_permute2f128_ps(halves, halves, 1));
    const __m256 pairs = _mm256_min_ps(both, _mm256_permute_ps(both, 0x4E));
    f[0] = _mm256_moveldup_ps(pairs);
    f[1] = _mm256_movehdup_ps(pairs);
#else
    f[0] = smallest_everywhere(f[0]);
    f[1] = smallest_everywhere(f[1]);
#endif
}

DEEPGGUF_INLINE Ints load_codes(const uint16_t * codes) {
#if defined(__AVX2__) && !defined(__AVX512F__)  // one instruction, which GCC 12 does not find
    return reinterpret_cast<Ints>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(codes))));
#else
    typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));
    Halves halves;
    memcpy(&halves, codes, sizeof halves);
    return __builtin_convertvector(halves, Ints);
#endif
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

// The terms of all levels at a scale, by coordinate.
template <class Points>
DEEPGGUF_INLINE void set_terms(const Target & target, float scale, ByLevel terms[Points::COORDS]) {
    for (int j = 0; j < Points::COORDS; j++) {
        for (int p = 0; p < PARTS; p++) {
            const Floats off = scale * target.levels->part[p] - target.x[j];
            terms[j].part[p] = target.weight[j] * off * off;
        }
    }
}

template <class Points> DEEPGGUF_INLINE Floats errors_of(Ints codes, const ByLevel terms[Points::COORDS]) {
    Floats sum = look_up<Points>(terms[0], codes);
    for (int j = 1; j < Points::COORDS; j++) sum += look_up<Points>(terms[j], codes >> Points::BITS * j);
    return sum;
}

// Vectors of the longest list.
template <class Points> constexpr int longest() { return (Points::POINTS < 304 ? Points::POINTS : 304) / LANES + 1; }

// The point of a list with the smallest error at a scale, the first of several. Where no error is less than FLT_MAX, ggml
// ends itself; here it is the first point. SIZE: vectors of the list; 0 if that is known at run time only.
template <class Points, int SIZE>
DEEPGGUF_INLINE uint16_t nearest_of(const uint16_t * list, int count, const Target & target, float scale) {
    const int vectors = SIZE ? SIZE : (count + LANES - 1) / LANES;
    ByLevel terms[Points::COORDS];
    set_terms<Points>(target, scale, terms);
    Floats error[SIZE ? SIZE : longest<Points>()], best = splat(FLOAT_MAX);
    for (int p = 0; p < vectors; p++) {
        error[p] = errors_of<Points>(load_codes(list + p * LANES), terms);
        best = smaller(error[p], best);
    }
    best = smallest_everywhere(best);
    if (SIZE) {
        uint64_t equal = 0;
        for (int p = 0; p < SIZE; p++) equal |= static_cast<uint64_t>(lanes_of(error[p] == best)) << p * LANES;
        return list[equal ? __builtin_ctzll(equal) : 0];
    }
    for (int p = 0; p < vectors; p++) {
        const uint32_t equal = lanes_of(error[p] == best);
        if (equal) return list[p * LANES + __builtin_ctz(equal)];
    }
    return list[0];
}

template <class Points>
__attribute__((noinline)) static uint16_t nearest_point(const uint16_t * list, int count, const Target & target,
                                                        float scale) {
    return nearest_of<Points, 0>(list, count, target, scale);
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
