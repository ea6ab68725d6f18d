// Q3_K: 256 high bits, 256 times two low bits, sixteen scales of six bits, their unit (F16).
#include "families.hpp"
#include "scale_search.hpp"
#include "superblocks.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int SUBBLOCKS = 16, SUBBLOCK = 16, MAX = 4;

struct Q3K {
    static constexpr int BYTES = 110;

    static void encode(const Floats * x, const Floats * importance, Ints * words) {
        Ints q[SUPERBLOCK], scale[SUBBLOCKS];  // the scales as stored, 0 to 63
        const Ints unit = importance ? fit_weighted(x, importance, q, scale) : fit(x, q, scale);
        for (int j = 0; j < SUBBLOCKS; j++) {
            const Floats d = from_f16(unit) * to_float(scale[j] - 32);
            quantize_signed<SUBBLOCK>(x + SUBBLOCK * j, d, MAX, q + SUBBLOCK * j);
        }
        store_high_bits(q, words);
        for (int i = 0; i < SUPERBLOCK; i++) q[i] &= 3;
        store_bit_pairs(q, words + 8);
        store_scales(scale, words + 24);
        words[27] = unit;
    }

    // quantize_row_q3_K_ref: the unit is such that the scale of largest magnitude becomes -32.
    static Ints fit(const Floats * x, Ints * q, Ints * scale) {
        Floats scales[SUBBLOCKS];
        for (int j = 0; j < SUBBLOCKS; j += PAIR) {
            improve_levels<SUBBLOCK, MAX>(x + SUBBLOCK * j, q + SUBBLOCK * j, scales + j);
        }
        const Floats largest = extremum<SUBBLOCKS>(scales), inverse = -32.0f / largest;
        const Mask none = largest == 0.0f;
        for (int j = 0; j < SUBBLOCKS; j++) {
            const Ints signed_scale = clamp(signed_byte(nearest_int(inverse * scales[j])), -32, 31);
            scale[j] = select(none, splat(0), signed_scale + 32);
        }
        return to_f16(select(none, splat(0.0f), 1.0f / inverse));
    }

    // quantize_row_q3_K_impl: the unit is searched, every sub-block weighing what its weights weigh together.
    static Ints fit_weighted(const Floats * x, const Floats * importance, Ints * q, Ints * scale) {
        Floats weight[SUPERBLOCK], sum_w[SUBBLOCKS], scales[SUBBLOCKS];
        const Floats sigma2 = 2.0f * sum_of_squares(x, SUPERBLOCK) / static_cast<float>(SUPERBLOCK);
        for (int j = 0; j < SUBBLOCKS; j++) {
            const int at = SUBBLOCK * j;
            sum_w[j] = weigh<SUBBLOCK>(x + at, importance + at, sigma2, weight + at);
        }
        for (int j = 0; j < SUBBLOCKS; j++) {
            const int at = SUBBLOCK * j;
            const Scale found = search_scale<SUBBLOCK, MAX, true>(x + at, weight + at);
            scales[j] = found.scale;
            for (int i = at; i < at + SUBBLOCK; i++) q[i] = quantized(found, x[i], MAX);
        }
        const Scale unit = search_scale<SUBBLOCKS, 32, false>(scales, sum_w);
        for (int j = 0; j < SUBBLOCKS; j++) scale[j] = quantized(unit, scales[j], 32);
        return to_f16(unit.scale);
    }

    // Bit j of byte i belongs to weight 32 * j + i.
    static void store_high_bits(const Ints * q, Ints * words) {
        for (int i = 0; i < 32; i += 4) {
            Ints bits[4] = {};
            for (int k = 0; k < 4; k++) {
                for (int j = 0; j < 8; j++) bits[k] |= q[32 * j + i + k] >> 2 << j;
            }
            words[i / 4] = word(bits);
        }
    }

    // Eight bytes of two low nibbles, then four of the high pairs of bits.
    static void store_scales(const Ints * scale, Ints * words) {
        Ints bytes[12];
        for (int j = 0; j < 8; j++) bytes[j] = (scale[j] & 0xF) | (scale[j + 8] & 0xF) << 4;
        for (int j = 0; j < 4; j++) {
            bytes[8 + j] = scale[j] >> 4 | scale[j + 4] >> 4 << 2 | scale[j + 8] >> 4 << 4 | scale[j + 12] >> 4 << 6;
        }
        for (int j = 0; j < 3; j++) words[j] = word(bytes + 4 * j);
    }
};

}  // namespace

void add_Q3_K(Table & table) { table.quantize[Q3_K] = quantize_superblocks<Q3K>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
