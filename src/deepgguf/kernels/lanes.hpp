// Vectors of LANES floats, for searches that run side by side: every lane holds a block of its own and sums in the
// order of its scalar original, so that the results are the same bits. Conditions on a lane become selects; a lane
// whose original would have returned early goes on with values that nobody reads.
//
// The vectors are GCC's and Clang's vector extensions. Every function here is inlined, because wide vectors have no
// calling convention on machines without wide registers.
#pragma once
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "rounding.hpp"

#define DEEPGGUF_INLINE static inline __attribute__((always_inline))

#if defined(__clang__) || __GNUC__ >= 12
#define DEEPGGUF_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define DEEPGGUF_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, Four{i, j, k, l})
#endif

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

constexpr int LANES = DEEPGGUF_LANES;

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef Ints Mask;  // a comparison's result: -1 where it holds, 0 where not

// Subtracting zero keeps every value, -0.0 too; adding to zero would not.
DEEPGGUF_INLINE Floats splat(float value) { return value - Floats{}; }
DEEPGGUF_INLINE Ints splat(int32_t value) { return value - Ints{}; }

DEEPGGUF_INLINE Floats load(const float * from) {
    Floats floats;
    memcpy(&floats, from, sizeof floats);
    return floats;
}

DEEPGGUF_INLINE Ints bits_of(Floats f) { return reinterpret_cast<Ints>(f); }
DEEPGGUF_INLINE Floats float_of(Ints i) { return reinterpret_cast<Floats>(i); }

DEEPGGUF_INLINE Floats select(Mask mask, Floats yes, Floats no) { return mask ? yes : no; }
DEEPGGUF_INLINE Ints select(Mask mask, Ints yes, Ints no) { return mask ? yes : no; }

// `a` only where it is smaller (larger): where either is NaN, or both are zeros, the result is `b`. That is what x86
// does in one instruction, which compilers do not always find. (GCC 12 warns of what its own header for the unmasked
// intrinsics of AVX-512 leaves undefined; a full mask costs nothing.)
#if defined(__AVX512F__)
DEEPGGUF_INLINE Floats smaller(Floats a, Floats b) { return _mm512_maskz_min_ps(0xFFFF, a, b); }
DEEPGGUF_INLINE Floats larger(Floats a, Floats b) { return _mm512_maskz_max_ps(0xFFFF, a, b); }
#elif defined(__AVX2__)
DEEPGGUF_INLINE Floats smaller(Floats a, Floats b) { return _mm256_min_ps(a, b); }
DEEPGGUF_INLINE Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
#elif defined(__SSE2__) && DEEPGGUF_LANES == 4
DEEPGGUF_INLINE Floats smaller(Floats a, Floats b) { return _mm_min_ps(a, b); }
DEEPGGUF_INLINE Floats larger(Floats a, Floats b) { return _mm_max_ps(a, b); }
#else
DEEPGGUF_INLINE Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
DEEPGGUF_INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }
#endif

DEEPGGUF_INLINE Ints clamp(Ints value, int32_t low, int32_t high) {
    const Ints lows = splat(low), highs = splat(high);
    const Ints capped = value < highs ? value : highs;
    return capped > lows ? capped : lows;
}

DEEPGGUF_INLINE Floats magnitude(Floats f) { return float_of(bits_of(f) & 0x7FFFFFFF); }

DEEPGGUF_INLINE Floats square_root(Floats f) {
    float lane[LANES];
    memcpy(lane, &f, sizeof lane);
    for (int k = 0; k < LANES; k++) lane[k] = __builtin_sqrtf(lane[k]);
    memcpy(&f, lane, sizeof lane);
    return f;
}

DEEPGGUF_INLINE Floats to_float(Ints i) { return __builtin_convertvector(i, Floats); }

DEEPGGUF_INLINE bool any(Mask mask) {
    typedef long long Pairs __attribute__((vector_size(4 * LANES)));
    const Pairs pairs = reinterpret_cast<Pairs>(mask);
    long long set = 0;
    for (int k = 0; k < LANES / 2; k++) set |= pairs[k];
    return set != 0;
}

// 1.5 * 2^23: a float of this size has no place for a fraction, so adding it rounds to an integer, ties to even.
constexpr float ROUNDER = 12582912.0f;

// nearest_int of ggml-quants.c, for every input: what it makes of NaN (0), of infinities and of numbers beyond 2^22
// (their low bits) decides bits of blocks with extreme values.
DEEPGGUF_INLINE Ints nearest_int(Floats f) { return (bits_of(f + ROUNDER) & 0x007FFFFF) - 0x00400000; }

// The same as a float, for |f| <= 2^22 only; cheaper, since nothing is converted. A zero may have either sign.
#if defined(__AVX2__)
constexpr int NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
#endif
#if defined(__AVX512F__)
DEEPGGUF_INLINE Floats nearest(Floats f) { return _mm512_maskz_roundscale_ps(0xFFFF, f, NEAREST); }
#elif defined(__AVX2__)
DEEPGGUF_INLINE Floats nearest(Floats f) { return _mm256_round_ps(f, NEAREST); }
#else
DEEPGGUF_INLINE Floats nearest(Floats f) { return (f + ROUNDER) - ROUNDER; }
#endif

// The conversions of rounding.hpp, with 16-bit formats in the low half of each lane. Written out: a compiler makes
// branches of the scalar ones, or mixes widths of lanes.
DEEPGGUF_INLINE Ints shift_right(Ints i, int places) {
    typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
    return reinterpret_cast<Ints>(reinterpret_cast<Words>(i) >> places);
}

DEEPGGUF_INLINE Ints bf16_to_f32(Ints halves) { return halves << 16; }

DEEPGGUF_INLINE Ints f32_to_bf16(Ints i) {
    const Ints rounded = i + 0x7FFF + (shift_right(i, 16) & 1);
    return shift_right(select((i & 0x7FFFFFFF) > 0x7F800000, i | 0x00400000, rounded), 16);
}

DEEPGGUF_INLINE Ints f16_to_f32(Ints halves) {
    const Ints rest = halves & 0x7FFF, fraction = rest << 13;
    const Ints normal = fraction + select(rest > 0x7BFF, splat((255 - 31) << 23), splat((127 - 15) << 23));
    const Ints subnormal = bits_of(float_of(fraction + (113 << 23)) - float_of(splat(113 << 23)));
    return ((halves & 0x8000) << 16) | select(rest < 0x0400, subnormal, normal);
}

DEEPGGUF_INLINE Ints f32_to_f16(Ints i) {
    const Ints a = i & 0x7FFFFFFF, sign = shift_right(i, 16) & 0x8000;
    const Ints normal = shift_right(a + 0x0FFF + (shift_right(a, 13) & 1) - ((127 - 15) << 23), 13);
    const Ints subnormal = bits_of(float_of(a) + 0.5f) - bits_of(splat(0.5f));
    const Ints special = select(a > 0x7F800000, splat(0x7E00), splat(0x7C00));
    return sign | select(a < 0x477FF000, select(a < (113 << 23), subnormal, normal), special);
}

DEEPGGUF_INLINE Ints to_f16(Floats f) { return f32_to_f16(bits_of(f)); }
DEEPGGUF_INLINE Floats from_f16(Ints halves) { return float_of(f16_to_f32(halves)); }

typedef int32_t Four __attribute__((vector_size(16)));

// Four rows of four words to four columns.
DEEPGGUF_INLINE void transpose(const Four row[4], Four column[4]) {
    const Four low01 = DEEPGGUF_SHUFFLE(row[0], row[1], 0, 4, 1, 5);
    const Four low23 = DEEPGGUF_SHUFFLE(row[2], row[3], 0, 4, 1, 5);
    const Four high01 = DEEPGGUF_SHUFFLE(row[0], row[1], 2, 6, 3, 7);
    const Four high23 = DEEPGGUF_SHUFFLE(row[2], row[3], 2, 6, 3, 7);
    column[0] = DEEPGGUF_SHUFFLE(low01, low23, 0, 1, 4, 5);
    column[1] = DEEPGGUF_SHUFFLE(low01, low23, 2, 3, 6, 7);
    column[2] = DEEPGGUF_SHUFFLE(high01, high23, 0, 1, 4, 5);
    column[3] = DEEPGGUF_SHUFFLE(high01, high23, 2, 3, 6, 7);
}

// out[i][lane] = row[lane][i] for i < n; n is a multiple of four, the rows may be unaligned.
static inline void load_columns(const float * const row[LANES], int n, Floats * out) {
    auto * words = reinterpret_cast<char *>(out);
    for (int i = 0; i < n; i += 4) {
        for (int lane = 0; lane < LANES; lane += 4) {
            Four rows[4], columns[4];
            for (int k = 0; k < 4; k++) memcpy(&rows[k], row[lane + k] + i, 16);
            transpose(rows, columns);
            for (int k = 0; k < 4; k++) memcpy(words + ((i + k) * LANES + lane) * 4, &columns[k], 16);
        }
    }
}

// row[lane][i] = words[i][lane] for i < n: every lane's words one after the other, the rows n words long rounded up to
// a multiple of four (and `words` likewise).
static inline void store_columns(const Ints * words, int n, uint32_t * const row[LANES]) {
    const auto * from = reinterpret_cast<const char *>(words);
    for (int i = 0; i < n; i += 4) {
        for (int lane = 0; lane < LANES; lane += 4) {
            Four rows[4], columns[4];
            for (int k = 0; k < 4; k++) memcpy(&rows[k], from + ((i + k) * LANES + lane) * 4, 16);
            transpose(rows, columns);
            for (int k = 0; k < 4; k++) memcpy(row[lane + k] + i, &columns[k], 16);
        }
    }
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
