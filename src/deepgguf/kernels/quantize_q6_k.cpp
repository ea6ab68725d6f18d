// Q6_K: 256 levels of six bits (four low, two high), sixteen scales of eight bits, their unit (F16).
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
        for (int j = 0; j < SUBBLOCKS; j += PAIR) {
            const int at = SUBBLOCK * j;
            search_scale<SUBBLOCK, MAX, true>(x + at, importance ? importance + at : nullptr, fit + j);
        }
        for (int j = 0; j < SUBBLOCKS; j++) scales[j] = fit[j].scale;
        const Floats largest = extremum<SUBBLOCKS>(scales), inverse = -128.0f / largest;
        const Ints unit = to_f16(1.0f / inverse);
        Ints scale[SUBBLOCKS], q[SUPERBLOCK];
        for (int j = 0; j < SUBBLOCKS; j++) scale[j] = signed_byte(at_most(nearest_int(inverse * scales[j]), 127));
        for (int j = 0; j < SUBBLOCKS; j++) {
            const Floats d = from_f16(unit) * to_float(scale[j]);
            const Mask kept = d == 0.0f;
            const bool any_kept = any(kept);
            for (int i = SUBBLOCK * j; i < SUBBLOCK * (j + 1); i++) {
                q[i] = clamp(nearest_int(x[i] / d), -MAX, MAX - 1) + MAX;
                if (any_kept) q[i] = select(kept, quantized(fit[j], x[i], MAX), q[i]);
            }
        }
        store(q, scale, unit, words);
        const Mask negligible = magnitude(largest) < NEGLIGIBLE;
        if (any(negligible)) {
            for (int i = 0; i < MAX_WORDS; i++) words[i] = select(negligible, splat(0), words[i]);
        }
    }

    static void store(const Ints * q, const Ints * scale, Ints unit, Ints * words) {
        Ints *low = words, *high = words + 32;
        for (int half = 0; half < SUPERBLOCK; half += 128) {
            for (int i = half; i < half + 32; i += 4) {
                Ints first[4], second[4], upper[4];
                for (int k = 0; k < 4; k++) {
                    const Ints a = q[i + k], b = q[i + k + 32], c = q[i + k + 64], d = q[i + k + 96];
                    first[k] = (a & 0xF) | (c & 0xF) << 4;
                    second[k] = (b & 0xF) | (d & 0xF) << 4;
                    upper[k] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
                }
                low[0] = word(first[0], first[1], first[2], first[3]);
                low[8] = word(second[0], second[1], second[2], second[3]);
                *high++ = word(upper[0], upper[1], upper[2], upper[3]);
                low++;
            }
            low += 8;
        }
        for (int j = 0; j < SUBBLOCKS; j += 4) {
            words[48 + j / 4] = word(scale[j] & 0xFF, scale[j + 1] & 0xFF, scale[j + 2] & 0xFF, scale[j + 3] & 0xFF);
        }
        words[52] = unit;
    }
};

}  // namespace

void add_q6_k(Table & table) { table.quantize[Q6_K] = quantize_superblocks<Q6K>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
