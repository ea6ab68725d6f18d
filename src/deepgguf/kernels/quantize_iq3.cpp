// IQ3_XXS and IQ3_S: four magnitudes at a time are a point of a lattice, eight levels each. As quantize_row_iq3_xxs_impl
// and quantize_row_iq3_s_impl in ggml-quants.c, bit for bit.
#include "families.hpp"
#include "vector_fit.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int SUBBLOCK = 32, SUBBLOCKS = SUPERBLOCK / SUBBLOCK, VECTORS = SUBBLOCK / 4;
constexpr float TOP = 15.0f;

void weigh(const float * x, const float * importance, float squares, Signed & block) {
    if (importance) {
        weigh_by_importance(x, importance, 2.0f * squares / static_cast<float>(SUPERBLOCK), block.weight);
    } else {
        for (int i = 0; i < SUPERBLOCK; i++) block.weight[i] = x[i] * x[i];
    }
}

// What VectorFit needs to know: the largest value of every sub-block, 0 for an empty one, and the scale for that.
void set_ranges(const Signed & block, float negligible, float * range, float * first) {
    for (int j = 0; j < SUBBLOCKS; j++) {
        const float max = largest_of<SUBBLOCK>(block.x + SUBBLOCK * j);
        range[j] = max < negligible ? 0.0f : max;
        first[j] = max / TOP;
    }
}

// d; 64 bytes of indices; for each sub-block a word of four times seven signs and the scale.
struct Iq3Xxs {
    using Points = Iq3XxsPoints;
    static constexpr int BYTES = 98, SUBBLOCK = 32, STEPS = 15, SIGN_BITS = 127;
    static constexpr float STEP = 0.2f, NEGLIGIBLE = 1e-8f, SCALE_FACTOR = 1.0125f;
    static constexpr Again AGAIN = Again::OFF_LATTICE;

    static void encode(const float * x, const float * importance, float squares, uint8_t * out) {
        Signed block;
        weigh(x, importance, squares, block);
        split_signs(x, block);
        make_signs_even(x, block);
        float range[SUBBLOCKS], first[SUBBLOCKS];
        set_ranges(block, NEGLIGIBLE, range, first);
        Stored<Iq3Xxs> stored;
        const float largest = fit_superblock<Iq3Xxs>(block, range, first, stored);
        memset(out, 0, BYTES);
        if (largest == 0.0f) return;
        const float d = largest / 31.0f, inverse = 1.0f / d;
        store_half(out, d * SCALE_FACTOR);
        uint32_t words[SUBBLOCKS];
        for (int j = 0; j < SUBBLOCKS; j++) {
            words[j] = four_bit_scale(inverse, stored.scale[j]) << 28;
            if (range[j] == 0.0f) continue;
            for (int v = VECTORS * j; v < VECTORS * (j + 1); v++) out[2 + v] = static_cast<uint8_t>(stored.index[v]);
            for (int k = 0; k < 4; k++) words[j] |= static_cast<uint32_t>(block.signs[4 * j + k]) << 7 * k;
        }
        memcpy(out + 66, words, sizeof words);
    }
};

// d; 64 bytes of indices; 8 of their ninth bits; 32 of signs; 4 of scales.
struct Iq3S {
    using Points = Iq3SPoints;
    static constexpr int BYTES = 110, SUBBLOCK = 32, STEPS = 9, SIGN_BITS = 255;
    static constexpr float STEP = 0.2f, SCALE_FACTOR = 1.033f;
    static constexpr Again AGAIN = Again::ALL_IF_ANY;

    // ggml does not move on to the next sub-block's indices and signs after one of zeros, but to its ninth bits and its
    // scale: what comes after 32 zeros decodes to something else. The bytes are the same here.
    static void encode(const float * x, const float * importance, float squares, uint8_t * out) {
        Signed block;
        weigh(x, importance, squares, block);
        split_signs(x, block);
        float range[SUBBLOCKS], first[SUBBLOCKS];
        set_ranges(block, 0.0f, range, first);
        Stored<Iq3S> stored;
        const float largest = fit_superblock<Iq3S>(block, range, first, stored);
        uint8_t *indices = out + 2, *ninth_bits = out + 66, *signs = out + 74, *scales = out + 106;
        memset(out, 0, BYTES);
        for (int j = 0; j < SUBBLOCKS; j++) {
            if (range[j] == 0.0f) continue;
            for (int v = 0; v < VECTORS; v++) {
                const uint32_t index = stored.index[VECTORS * j + v];
                *indices++ = static_cast<uint8_t>(index);
                ninth_bits[j] = static_cast<uint8_t>(ninth_bits[j] | index >> 8 << v);
            }
            memcpy(signs, block.signs + 4 * j, 4);
            signs += 4;
        }
        if (largest == 0.0f) return;
        const float d = largest / 31.0f, inverse = 1.0f / d;
        store_half(out, d * SCALE_FACTOR);
        for (int j = 0; j < SUBBLOCKS; j += 2) {
            const uint32_t pair = four_bit_scale(inverse, stored.scale[j]) | four_bit_scale(inverse, stored.scale[j + 1]) << 4;
            scales[j / 2] = static_cast<uint8_t>(pair);
        }
    }
};

}  // namespace

void add_IQ3_XXS(Table & table) { table.quantize[IQ3_XXS] = quantize_by_squares<Iq3Xxs>; }
void add_IQ3_S(Table & table) { table.quantize[IQ3_S] = quantize_by_squares<Iq3S>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
