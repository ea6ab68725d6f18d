// Super-blocks of 256 weights, LANES of them at a time, one to a lane: the sub-blocks of a K-quant's super-blocks are
// searched side by side, and so are the scales of the super-blocks themselves.
#pragma once
#include "lanes.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

constexpr int SUPERBLOCK = 256;
constexpr int MAX_WORDS = 56;  // of 32 bits, for the widest block (Q6_K: 210 bytes), a multiple of four

// What `Family::encode` is given: x[i] holds weight i of every super-block, and importance[i] its importance (null if
// there is none). It fills `words`: the bytes of every super-block, as little-endian words.
template <class Family>
static void quantize_superblocks(const float * src, void * dst, int64_t rows, int64_t cols, const float * importance) {
    static const float zeros[SUPERBLOCK] = {};
    const int64_t per_row = cols / SUPERBLOCK, count = rows * per_row;
    Floats x[SUPERBLOCK], weights[SUPERBLOCK];
    Ints words[MAX_WORDS] = {};
    uint32_t bytes[LANES][MAX_WORDS];
    for (int64_t first = 0; first < count; first += LANES) {
        const int used = count - first < LANES ? static_cast<int>(count - first) : LANES;
        const float * row[LANES];
        for (int lane = 0; lane < LANES; lane++) row[lane] = lane < used ? src + (first + lane) * SUPERBLOCK : zeros;
        load_columns(row, SUPERBLOCK, x);
        if (importance) {
            for (int lane = 0; lane < LANES; lane++) {
                row[lane] = lane < used ? importance + (first + lane) % per_row * SUPERBLOCK : zeros;
            }
            load_columns(row, SUPERBLOCK, weights);
        }
        Family::encode(x, importance ? weights : nullptr, words);
        uint32_t * out[LANES];
        for (int lane = 0; lane < LANES; lane++) out[lane] = bytes[lane];
        store_columns(words, (Family::BYTES + 15) / 16 * 4, out);
        for (int lane = 0; lane < used; lane++) {
            memcpy(static_cast<char *>(dst) + (first + lane) * Family::BYTES, bytes[lane], Family::BYTES);
        }
    }
}

// Four vectors of bytes to one of words, the first lowest.
DEEPGGUF_INLINE Ints word(const Ints * bytes) { return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | bytes[3] << 24; }

// Two bits of every weight: byte 32 * h + i holds weights 128 * h + i + 32 * (0 to 3), the first lowest.
static inline void store_bit_pairs(const Ints * q, Ints * words) {
    for (int half = 0; half < SUPERBLOCK; half += 128) {
        for (int i = half; i < half + 32; i += 4) {
            Ints bytes[4];
            for (int k = 0; k < 4; k++) {
                bytes[k] = q[i + k] | q[i + k + 32] << 2 | q[i + k + 64] << 4 | q[i + k + 96] << 6;
            }
            *words++ = word(bytes);
        }
    }
}

// What a conversion to int8_t leaves.
DEEPGGUF_INLINE Ints signed_byte(Ints i) { return i << 24 >> 24; }

// Sum of the squares of n weights.
DEEPGGUF_INLINE Floats sum_of_squares(const Floats * x, int n) {
    Floats sum = splat(0.0f);
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

// importance * sqrt(sigma2 + x^2) for a sub-block of N weights; returns their sum.
template <int N>
DEEPGGUF_INLINE Floats weigh(const Floats * x, const Floats * importance, Floats sigma2, Floats * weight) {
    Floats sum = splat(0.0f);
    for (int i = 0; i < N; i++) {
        weight[i] = importance[i] * square_root(sigma2 + x[i] * x[i]);
        sum += weight[i];
    }
    return sum;
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
