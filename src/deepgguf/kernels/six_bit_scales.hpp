// What Q4_K and Q5_K have in common: eight sub-blocks of 32 weights, each with a scale and a minimum of six bits, in
// the super-block's unit for either (F16).
#pragma once
#include "scale_search.hpp"
#include "superblocks.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

constexpr int SUBBLOCKS = 8, SUBBLOCK = 32;

// Six-bit scales and minima, and their units as F16 bits.
struct SixBitScales {
    Ints scale[SUBBLOCKS], min[SUBBLOCKS], unit, min_unit;
};

// The units are such that the largest scale and minimum become 63 (quantize_row_q4_K_ref, quantize_row_q5_K_ref).
static inline SixBitScales scales_by_largest(const ScaleAndMin * fit) {
    Floats max_scale = splat(0.0f), max_min = splat(0.0f);
    for (int j = 0; j < SUBBLOCKS; j++) {
        max_scale = larger(fit[j].scale, max_scale);
        max_min = larger(fit[j].min, max_min);
    }
    const Floats inv_scale = select(max_scale > 0.0f, 63.0f / max_scale, splat(0.0f));
    const Floats inv_min = select(max_min > 0.0f, 63.0f / max_min, splat(0.0f));
    SixBitScales s;
    for (int j = 0; j < SUBBLOCKS; j++) {
        s.scale[j] = at_most(nearest_int(inv_scale * fit[j].scale) & 0xFF, 63);
        s.min[j] = at_most(nearest_int(inv_min * fit[j].min) & 0xFF, 63);
    }
    s.unit = to_f16(max_scale / 63.0f);
    s.min_unit = to_f16(max_min / 63.0f);
    return s;
}

// The upper bits of a number below 64 share a byte with the number four before it, and what that one has above 63 gets
// mixed in with them.
DEEPGGUF_INLINE void keep_six_bits(Ints * numbers) {
    for (int j = 0; j < 4; j++) {
        numbers[j + 4] = (numbers[j + 4] & 63) | numbers[j] >> 6 << 4;
        numbers[j] &= 63;
    }
}

// The units are searched, every sub-block weighing what its weights weigh together. A scale fitted below zero wraps
// around as a byte; quantize_row_q5_K_impl has a limit of 63 for that, quantize_row_q4_K_impl none (255).
static inline SixBitScales scales_by_search(const ScaleAndMin * fit, const Floats * sum_w, int limit) {
    Floats scale[SUBBLOCKS], min[SUBBLOCKS];
    for (int j = 0; j < SUBBLOCKS; j++) {
        scale[j] = fit[j].scale;
        min[j] = fit[j].min;
    }
    SixBitScales s;
    s.unit = to_f16(search_positive_scale<SUBBLOCKS>(scale, sum_w, 63, s.scale));
    s.min_unit = to_f16(search_positive_scale<SUBBLOCKS>(min, sum_w, 63, s.min));
    for (int j = 0; j < SUBBLOCKS; j++) {
        s.scale[j] = at_most(s.scale[j], limit);
        s.min[j] = at_most(s.min[j], limit);
    }
    keep_six_bits(s.scale);
    keep_six_bits(s.min);
    return s;
}

// What a type tries: grids without and with importance, and its limit for scales_by_search.
struct Searches {
    Grid plain, weighted;
    int limit;
};

// Fits every sub-block, then its scale and minimum.
template <int MAX>
static inline SixBitScales fit_superblock(const Floats * x, const Floats * importance, const Searches & searches,
                                          ScaleAndMin * fit) {
    Floats weight[SUPERBLOCK], sum_w[SUBBLOCKS];
    if (importance) {
        const Floats sigma2 = 2.0f * sum_of_squares(x, SUPERBLOCK) / static_cast<float>(SUPERBLOCK);
        for (int j = 0, at = 0; j < SUBBLOCKS; j++, at += SUBBLOCK) {
            sum_w[j] = weigh<SUBBLOCK>(x + at, importance + at, sigma2, weight + at);
        }
    } else {
        for (int at = 0; at < SUPERBLOCK; at += SUBBLOCK) {
            const Floats average = square_root(sum_of_squares(x + at, SUBBLOCK) / static_cast<float>(SUBBLOCK));
            for (int i = at; i < at + SUBBLOCK; i++) weight[i] = average + magnitude(x[i]);
        }
    }
    const Grid & grid = importance ? searches.weighted : searches.plain;
    for (int j = 0, at = 0; j < SUBBLOCKS; j += GROUP, at += GROUP * SUBBLOCK) {
        search_scale_and_min<SUBBLOCK, MAX, false>(x + at, weight + at, grid, fit + j);
    }
    return importance ? scales_by_search(fit, sum_w, searches.limit) : scales_by_largest(fit);
}

// All weights' levels, by the scales as they are stored.
template <int MAX>
static inline void quantize_by_scales(const Floats * x, const SixBitScales & s, const ScaleAndMin * fit, Ints * q) {
    for (int j = 0; j < SUBBLOCKS; j++) {
        const Floats scale = from_f16(s.unit) * to_float(s.scale[j]), min = from_f16(s.min_unit) * to_float(s.min[j]);
        quantize_affine<SUBBLOCK>(x + SUBBLOCK * j, scale, min, fit[j], MAX, q + SUBBLOCK * j);
    }
}

// The first four words of a block: both units, then twelve bytes of scales and minima.
static inline void store_scales(const SixBitScales & s, Ints * words) {
    Ints bytes[12];
    for (int j = 0; j < 4; j++) {
        const Ints scale = s.scale[j + 4], min = s.min[j + 4];
        bytes[j] = s.scale[j] | scale >> 4 << 6;
        bytes[j + 4] = s.min[j] | min >> 4 << 6;
        bytes[j + 8] = (scale & 0xF) | (min & 0xF) << 4;
    }
    words[0] = s.unit | s.min_unit << 16;
    for (int j = 0; j < 3; j++) words[1 + j] = word(bytes + 4 * j);
}

// Four bits of every weight: byte 32 * h + i holds weight 64 * h + i and, in its upper half, 64 * h + i + 32.
static inline void store_nibbles(const Ints * q, Ints * words) {
    for (int part = 0; part < SUPERBLOCK; part += 64) {
        for (int i = part; i < part + 32; i += 4) {
            Ints bytes[4];
            for (int k = 0; k < 4; k++) bytes[k] = (q[i + k] & 0xF) | (q[i + k + 32] & 0xF) << 4;
            *words++ = word(bytes);
        }
    }
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
