// Q6_K: 256 times four low bits, 256 times two high bits, sixteen scales of eight bits, their unit (F16).
#include "families.hpp"
#include "scale_search.hpp"
#include "superblocks.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int SUBBLOCKS = 16, SUBBLOCK = 16, MAX = 32;

struct Q6K {
    static constexpr int BYTES = 210;

    static void encode(const Floats * x, const Floats * importance, Ints * words) {
        Scale fit[SUBBLOCKS];
        Floats scales[SUBBLOCKS];
        for (int j = 0; j < SUBBLOCKS; j++) {
            const int at = SUBBLOCK * j;
            fit[j] = search_scale<SUBBLOCK, MAX, true>(x + at, importance ? importance + at : nullptr);
            scales[j] = fit[j].scale;
        }
        const Floats largest = extremum<SUBBLOCKS>(scales), inverse = -128.0f / largest;
        const Ints unit = to_f16(1.0f / inverse);
        Ints scale[SUBBLOCKS], q[SUPERBLOCK];
        for (int j = 0; j < SUBBLOCKS; j++) {
            const int at = SUBBLOCK * j;
            scale[j] = signed_byte(at_most(nearest_int(inverse * scales[j]), 127));
            const Floats d = from_f16(unit) * to_float(scale[j]);
            if (any(d == 0.0f)) {
                for (int i = at; i < at + SUBBLOCK; i++) q[i] = quantized(fit[j], x[i], MAX);
            }
            quantize_signed<SUBBLOCK>(x + at, d, MAX, q + at);
        }
        store_low_bits(q, words);
        store_high_bits(q, words + 32);
        for (int j = 0; j < SUBBLOCKS; j++) scale[j] &= 0xFF;
        for (int j = 0; j < SUBBLOCKS; j += 4) words[48 + j / 4] = word(scale + j);
        words[52] = unit;
        const Mask negligible = magnitude(largest) < NEGLIGIBLE;
        if (any(negligible)) {
            for (int i = 0; i < MAX_WORDS; i++) words[i] = select(negligible, splat(0), words[i]);
        }
    }

    // Byte 64 * h + i: weights 128 * h + i and, in its upper half, 128 * h + i + 64.
    static void store_low_bits(const Ints * q, Ints * words) {
        for (int half = 0; half < SUPERBLOCK; half += 128) {
            for (int i = half; i < half + 64; i += 4) {
                Ints bytes[4];
                for (int k = 0; k < 4; k++) bytes[k] = (q[i + k] & 0xF) | (q[i + k + 64] & 0xF) << 4;
                *words++ = word(bytes);
            }
        }
    }

    // Byte 32 * h + i: weights 128 * h + i + 32 * (0 to 3), the first lowest.
    static void store_high_bits(const Ints * q, Ints * words) {
        Ints high[SUPERBLOCK];
        for (int i = 0; i < SUPERBLOCK; i++) high[i] = q[i] >> 4;
        store_bit_pairs(high, words);
    }
};

}  // namespace

void add_Q6_K(Table & table) { table.quantize[Q6_K] = quantize_superblocks<Q6K>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
