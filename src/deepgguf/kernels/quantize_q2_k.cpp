// Q2_K: sixteen scales and minima of four bits each, 256 levels of two bits, units (F16 each) of scales and minima.
#include "families.hpp"
#include "scale_search.hpp"
#include "superblocks.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int SUBBLOCKS = 16, SUBBLOCK = 16, MAX = 3;

struct Q2K {
    static constexpr int BYTES = 84;

    static void encode(const Floats * x, const Floats * importance, Ints * words) {
        Floats weight[SUPERBLOCK], sum_w[SUBBLOCKS];
        ScaleAndMin fit[SUBBLOCKS];
        Ints scale_and_min[SUBBLOCKS], unit, min_unit, q[SUPERBLOCK];
        if (importance) {
            const Floats sigma2 = sum_of_squares(x, SUPERBLOCK) / static_cast<float>(SUPERBLOCK);
            for (int j = 0; j < SUBBLOCKS; j++) {
                const int at = SUBBLOCK * j;
                sum_w[j] = weigh<SUBBLOCK>(x + at, importance + at, sigma2, weight + at);
            }
            for (int j = 0, at = 0; j < SUBBLOCKS; j += GROUP, at += GROUP * SUBBLOCK) {
                search_scale_and_min<SUBBLOCK, MAX, false>(x + at, weight + at, {-0.9f, 0.05f, 37}, fit + j);
            }
            scales_by_search(fit, sum_w, scale_and_min, unit, min_unit);
        } else {
            for (int i = 0; i < SUPERBLOCK; i++) weight[i] = magnitude(x[i]);
            for (int j = 0, at = 0; j < SUBBLOCKS; j += GROUP, at += GROUP * SUBBLOCK) {
                search_scale_and_min<SUBBLOCK, MAX, true>(x + at, weight + at, {-0.5f, 0.1f, 16}, fit + j);
            }
            scales_by_largest(fit, scale_and_min, unit, min_unit);
        }
        for (int j = 0; j < SUBBLOCKS; j++) {
            const Floats scale = from_f16(unit) * to_float(scale_and_min[j] & 0xF);
            const Floats min = from_f16(min_unit) * to_float(scale_and_min[j] >> 4);
            quantize_affine<SUBBLOCK>(x + SUBBLOCK * j, scale, min, fit[j], MAX, q + SUBBLOCK * j);
        }
        for (int j = 0; j < SUBBLOCKS; j += 4) *words++ = word(scale_and_min + j);
        store_bit_pairs(q, words);
        words[16] = unit | min_unit << 16;
    }

    // quantize_row_q2_K_ref. What it shifts out of its bytes is lost here too.
    static void scales_by_largest(const ScaleAndMin * fit, Ints * scale_and_min, Ints & unit, Ints & min_unit) {
        const Floats zero = splat(0.0f);
        Floats max_scale = zero, max_min = zero;
        for (int j = 0; j < SUBBLOCKS; j++) {
            max_scale = larger(fit[j].scale, max_scale);
            max_min = larger(fit[j].min, max_min);
        }
        const Mask scaled = max_scale > 0.0f, shifted = max_min > 0.0f;
        for (int j = 0; j < SUBBLOCKS; j++) {
            const Ints scale = nearest_int(15.0f / max_scale * fit[j].scale);
            const Ints min = nearest_int(15.0f / max_min * fit[j].min);
            scale_and_min[j] = (select(scaled, scale, splat(0)) | select(shifted, min << 4, splat(0))) & 0xFF;
        }
        unit = to_f16(select(scaled, max_scale / 15.0f, zero));
        min_unit = to_f16(select(shifted, max_min / 15.0f, zero));
    }

    // quantize_row_q2_K_impl.
    static void scales_by_search(const ScaleAndMin * fit, const Floats * sum_w, Ints * scale_and_min, Ints & unit,
                                 Ints & min_unit) {
        Floats scale[SUBBLOCKS], min[SUBBLOCKS];
        Ints scales[SUBBLOCKS], mins[SUBBLOCKS];
        for (int j = 0; j < SUBBLOCKS; j++) {
            scale[j] = fit[j].scale;
            min[j] = fit[j].min;
        }
        unit = to_f16(search_positive_scale<SUBBLOCKS>(scale, sum_w, 15, scales));
        min_unit = to_f16(search_positive_scale<SUBBLOCKS>(min, sum_w, 15, mins));
        for (int j = 0; j < SUBBLOCKS; j++) scale_and_min[j] = (scales[j] | mins[j] << 4) & 0xFF;
    }
};

}  // namespace

void add_Q2_K(Table & table) { table.quantize[Q2_K] = quantize_superblocks<Q2K>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
