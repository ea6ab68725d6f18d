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
    uint32_t code;
    bool certain;  // no other comes within `doubt`
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

// The first of the smallest of `count` errors. Where none is less than FLT_MAX, ggml ends itself; here it is the first.
DEEPGGUF_INLINE Found pick(const uint16_t * list, int count, const Floats * error, Floats best, float doubt) {
    constexpr int AT_A_TIME = 64;
    const float smallest = smallest_lane(best);
    int within = 0, first = -1;
    for (int start = 0; start < count && first < 0; start += AT_A_TIME) {
        uint64_t near = 0, equal = 0;
        for (int i = start; i < count && i < start + AT_A_TIME; i += LANES) {
            near |= static_cast<uint64_t>(lanes_of(error[i / LANES] <= splat(smallest + doubt))) << (i - start);
            equal |= static_cast<uint64_t>(lanes_of(error[i / LANES] == splat(smallest))) << (i - start);
        }
        if (count - start < AT_A_TIME) near &= (uint64_t(1) << (count - start)) - 1;
        within += near == 0 ? 0 : (near & (near - 1)) == 0 ? 1 : 2;
        if (equal) first = start + __builtin_ctzll(equal);
    }
    const int place = first < 0 ? 0 : first;
    return {list[place], within == 1 && count <= AT_A_TIME};
}

// The same for one vector of errors.
DEEPGGUF_INLINE Found pick(const uint16_t * list, int count, Floats error, float doubt) {
    const float smallest = smallest_lane(smaller(error, splat(FLOAT_MAX)));
    const uint32_t within = lanes_of(error <= splat(smallest + doubt)) & ((2u << (count - 1)) - 1u);
    const auto place = static_cast<uint32_t>(__builtin_ctz(lanes_of(error == splat(smallest)) | 1u << LANES));
    const uint32_t found = place < LANES ? place : 0;
    return {list[found], within != 0 && (within & (within - 1)) == 0};
}

template <class Points>
__attribute__((noinline)) static Found nearest_of_many(const uint16_t * list, int count, const Target & target, float scale,
                                                       float doubt) {
    ByLevel terms[Points::COORDS];
    set_terms<Points>(target, scale, terms);
    Floats error[longest<Points>()], best = splat(FLOAT_MAX);
    for (int i = 0; i < count; i += LANES) {
        error[i / LANES] = errors_of<Points>(load_codes(list + i), terms);
        best = smaller(error[i / LANES], best);
    }
    return pick(list, count, error, best, doubt);
}

template <class Points>
static inline Found nearest_point(const uint16_t * list, int count, const Target & target, float scale, float doubt) {
    if (count > LANES) return nearest_of_many<Points>(list, count, target, scale, doubt);
    ByLevel terms[Points::COORDS];
    set_terms<Points>(target, scale, terms);
    return pick(list, count, errors_of<Points>(load_codes(list), terms), doubt);
}

// The error of one point, rounded a little differently.
template <class Points> static inline float error_of(uint32_t code, const Target & target, float scale) {
    float sum = 0.0f;
    for (int j = 0; j < Points::COORDS; j++) {
        const auto level = code >> Points::BITS * j & ((1u << Points::BITS) - 1u);
        const float off = scale * static_cast<float>(2 * level + 1) - target.x[j];
        sum += target.weight[j] * off * off;
    }
    return sum;
}

// The best points at two scales.
template <class Points>
static inline void nearest_points(const uint16_t * list, int count, const Target & target, float scale0, float scale1,
                                  float doubt, Found found[2]) {
    ByLevel terms0[Points::COORDS], terms1[Points::COORDS];
    set_terms<Points>(target, scale0, terms0);
    set_terms<Points>(target, scale1, terms1);
    if (count > LANES) {
        Floats error0[longest<Points>()], error1[longest<Points>()], best0 = splat(FLOAT_MAX), best1 = best0;
        for (int i = 0; i < count; i += LANES) {
            const Ints codes = load_codes(list + i);
            error0[i / LANES] = errors_of<Points>(codes, terms0);
            error1[i / LANES] = errors_of<Points>(codes, terms1);
            best0 = smaller(error0[i / LANES], best0);
            best1 = smaller(error1[i / LANES], best1);
        }
        found[0] = pick(list, count, error0, best0, doubt);
        found[1] = pick(list, count, error1, best1, doubt);
        return;
    }
    const Ints codes = load_codes(list);
    found[0] = pick(list, count, errors_of<Points>(codes, terms0), doubt);
    found[1] = pick(list, count, errors_of<Points>(codes, terms1), doubt);
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
