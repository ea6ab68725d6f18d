// IQ2_XXS, IQ2_XS and IQ2_S: eight magnitudes at a time are a point of a lattice, three levels each. As
// quantize_row_iq2_xxs_impl and its like in ggml-quants.c, bit for bit. IQ2_XXS and IQ2_XS need importance.
#include "families.hpp"
#include "scale_search.hpp"
#include "vector_fit.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr float TOP = 5.0f;

// The unit of the scales, as F32, and what to multiply scales by to count in it; all zero if no scale is above zero.
struct Unit {
    float d, inverse;
};

inline Unit unit_of(float largest) {
    const float d = largest / 31.0f;
    return {d, 1.0f / d};
}

// d; for each sub-block four bytes of indices and a word of four times seven signs and the scale.
struct Iq2Xxs {
    using Points = Iq2XxsPoints;
    static constexpr int BYTES = 66, SUBBLOCK = 32, SUBBLOCKS = SUPERBLOCK / SUBBLOCK, STEPS = 6, SIGN_BITS = 127;
    static constexpr float STEP = 0.1f;
    static constexpr Again AGAIN = Again::ALL;

    static void encode(const float * x, const float * importance, float squares, uint8_t * out) {
        Signed block;
        weigh_by_importance(x, importance, squares / static_cast<float>(SUPERBLOCK), block.weight);
        split_signs(x, block);
        make_signs_even(x, block);
        float first[SUBBLOCKS], range[SUBBLOCKS];
        first_scales(block, first);
        for (int j = 0; j < SUBBLOCKS; j++) {
            range[j] = first[j] * 3.0f;
            if (largest_of<SUBBLOCK>(block.x + SUBBLOCK * j) < NEGLIGIBLE || range[j] <= 0.0f) range[j] = 0.0f;
        }
        Stored<Iq2Xxs> stored;
        const float largest = fit_superblock<Iq2Xxs>(block, range, first, stored);
        memset(out, 0, BYTES);
        if (largest == 0.0f) return;
        const Unit unit = unit_of(largest);
        store_half(out, unit.d);
        uint32_t words[2 * SUBBLOCKS] = {};
        for (int j = 0; j < SUBBLOCKS; j++) {
            words[2 * j + 1] = four_bit_scale(unit.inverse, stored.scale[j]) << 28;
            if (range[j] == 0.0f) continue;
            for (int k = 0; k < 4; k++) {
                words[2 * j] |= stored.index[4 * j + k] << 8 * k;
                words[2 * j + 1] |= static_cast<uint32_t>(block.signs[4 * j + k]) << 7 * k;
            }
        }
        memcpy(out + 2, words, sizeof words);
    }

    // The scales of all sub-blocks for levels of 0 to 4, a sub-block to a lane.
    static void first_scales(const Signed & block, float * first) {
        for (int j = 0; j < SUBBLOCKS; j += LANES) {
            const float *x[LANES], *weight[LANES];
            for (int lane = 0; lane < LANES; lane++) {
                x[lane] = block.x + SUBBLOCK * (j + lane < SUBBLOCKS ? j + lane : 0);
                weight[lane] = block.weight + (x[lane] - block.x);
            }
            Floats columns[SUBBLOCK], weights[SUBBLOCK];
            Ints levels[SUBBLOCK];
            load_columns(x, SUBBLOCK, columns);
            load_columns(weight, SUBBLOCK, weights);
            const Floats scales = search_positive_scale<SUBBLOCK>(columns, weights, 4, levels);
            memcpy(first + j, &scales, (SUBBLOCKS - j < LANES ? SUBBLOCKS - j : LANES) * sizeof(float));
        }
    }
};

// Scales of four bits for sixteen sub-blocks, two to a byte.
inline void store_scales(uint8_t * out, float inverse, const float * scale) {
    for (int j = 0; j < 16; j += 2) {
        const uint32_t pair = four_bit_scale(inverse, scale[j]) | four_bit_scale(inverse, scale[j + 1]) << 4;
        out[j / 2] = static_cast<uint8_t>(pair);
    }
}

// What VectorFit needs to know: the largest value of every sub-block, 0 for an empty one, and the scale for that.
template <int N> inline void set_ranges(const Signed & block, float negligible, float * range, float * first) {
    for (int j = 0; j < SUPERBLOCK / N; j++) {
        const float max = largest_of<N>(block.x + N * j);
        range[j] = max < negligible ? 0.0f : max;
        first[j] = max / TOP;
    }
}

// d; for each vector 9 bits of index and 7 signs; 8 bytes of scales.
struct Iq2Xs {
    using Points = Iq2XsPoints;
    static constexpr int BYTES = 74, SUBBLOCK = 16, SUBBLOCKS = SUPERBLOCK / SUBBLOCK, STEPS = 9, SIGN_BITS = 127;
    static constexpr float STEP = 0.1f;
    static constexpr Again AGAIN = Again::OFF_LATTICE;

    static void encode(const float * x, const float * importance, float squares, uint8_t * out) {
        Signed block;
        weigh_by_importance(x, importance, squares / static_cast<float>(SUPERBLOCK), block.weight);
        split_signs(x, block);
        make_signs_even(x, block);
        float range[SUBBLOCKS], first[SUBBLOCKS];
        set_ranges<SUBBLOCK>(block, NEGLIGIBLE, range, first);
        Stored<Iq2Xs> stored;
        const float largest = fit_superblock<Iq2Xs>(block, range, first, stored);
        memset(out, 0, BYTES);
        if (largest == 0.0f) return;
        uint16_t vectors[2 * SUBBLOCKS] = {};
        for (int k = 0; k < 2 * SUBBLOCKS; k++) {
            if (range[k / 2] == 0.0f) continue;
            vectors[k] = static_cast<uint16_t>(stored.index[k] | static_cast<uint32_t>(block.signs[k]) << 9);
        }
        const Unit unit = unit_of(largest);
        store_half(out, unit.d);
        memcpy(out + 2, vectors, sizeof vectors);
        store_scales(out + 66, unit.inverse, stored.scale);
    }
};

// d; 32 bytes of indices; 32 of signs; 8 of the indices' high pairs of bits; 8 of scales.
struct Iq2S {
    using Points = Iq2SPoints;
    static constexpr int BYTES = 82, SUBBLOCK = 16, SUBBLOCKS = SUPERBLOCK / SUBBLOCK, STEPS = 9, SIGN_BITS = 255;
    static constexpr float STEP = 0.1f, NEGLIGIBLE = 1e-8f, SCALE_FACTOR = 0.9875f;
    static constexpr Again AGAIN = Again::OFF_LATTICE;

    // Where every scale is zero, the indices and signs that were found stay, as in ggml.
    static void encode(const float * x, const float * importance, float squares, uint8_t * out) {
        Signed block;
        weigh(x, importance, squares, block.weight);
        split_signs(x, block);
        float range[SUBBLOCKS], first[SUBBLOCKS];
        set_ranges<SUBBLOCK>(block, NEGLIGIBLE, range, first);
        Stored<Iq2S> stored;
        const float largest = fit_superblock<Iq2S>(block, range, first, stored);
        uint8_t *indices = out + 2, *signs = out + 34, *high_bits = out + 66;
        memset(out, 0, BYTES);
        for (int k = 0; k < 2 * SUBBLOCKS; k++) {
            if (range[k / 2] == 0.0f) continue;
            indices[k] = static_cast<uint8_t>(stored.index[k]);
            high_bits[k / 4] = static_cast<uint8_t>(high_bits[k / 4] | stored.index[k] >> 8 << 2 * (k % 4));
            signs[k] = block.signs[k];
        }
        if (largest == 0.0f) return;
        const Unit unit = unit_of(largest);
        store_half(out, unit.d * SCALE_FACTOR);
        store_scales(out + 74, unit.inverse, stored.scale);
    }

    static void weigh(const float * x, const float * importance, float squares, float * weight) {
        const float mean_square = 2.0f * squares / static_cast<float>(SUPERBLOCK);
        if (importance) return weigh_by_importance(x, importance, mean_square, weight);
        for (int i = 0; i < SUPERBLOCK; i++) weight[i] = 0.25f * mean_square + x[i] * x[i];
    }
};

}  // namespace

void add_IQ2_XXS(Table & table) {
    table.quantize[IQ2_XXS] = quantize_by_squares<Iq2Xxs>;
    table.needs_importance[IQ2_XXS] = true;
}
void add_IQ2_XS(Table & table) {
    table.quantize[IQ2_XS] = quantize_by_squares<Iq2Xs>;
    table.needs_importance[IQ2_XS] = true;
}
void add_IQ2_S(Table & table) { table.quantize[IQ2_S] = quantize_by_squares<Iq2S>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
