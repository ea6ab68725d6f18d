// Q4_1 and Q5_1: a scale and a minimum (F16) and 32 levels above it, of four bits, or of five, the fifth ones apart. As
// quantize_row_q4_1_ref and, with importance, quantize_row_q4_1_impl in ggml-quants.c, bit for bit.
#include "blocks.hpp"
#include "families.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr float LARGEST = 0x1.FFFFFEp127f;

// MAX is the highest level.
template <int MAX> struct Affine {
    static constexpr bool FIFTH = MAX == 31;
    using Bytes = BlockBytes<4, FIFTH>;
    static constexpr Importance IMPORTANCE = Importance::OF_ROW;

    static void encode(Floats scale, Floats min, const Ints * q, Encoded & encoded) {
        encoded.head = to_f16(scale) | to_f16(min) << 16;
        if (FIFTH) encoded.fifth = fifth_bits(q);
        encode_nibbles(q, encoded.nibbles);
    }

    // Of zeros of both signs, the first is the bound. Each part is compared on its own: one chain of comparisons is slow.
    static void bounds(const Floats * x, Floats & min, Floats & max) {
        constexpr int PARTS = 4, PART = BLOCK / PARTS;
        Floats mins[PARTS], maxs[PARTS];
        for (int p = 0; p < PARTS; p++) mins[p] = splat(LARGEST), maxs[p] = splat(-LARGEST);
        for (int i = 0; i < PART; i++) {
            for (int p = 0; p < PARTS; p++) {
                mins[p] = smaller(x[PART * p + i], mins[p]);
                maxs[p] = larger(x[PART * p + i], maxs[p]);
            }
        }
        min = mins[0], max = maxs[0];
        for (int p = 1; p < PARTS; p++) min = smaller(mins[p], min), max = larger(maxs[p], max);
    }

    static void quantize(Blocks & blocks) {
        for (int k = 0; k < GROUP; k++) {
            const Floats * x = blocks.x + BLOCK * k;
            Floats min, max;
            bounds(x, min, max);
            const Floats scale = (max - min) / static_cast<float>(MAX), inverse = inverse_of(scale);
            Ints q[BLOCK];
            for (int i = 0; i < BLOCK; i++) q[i] = truncate((x[i] - min) * inverse + 0.5f);
            encode(scale, min, q, blocks.encoded[k]);
        }
    }

    static void quantize_weighted(Blocks & blocks) {
        static constexpr Grid grid = {-0.9f, 0.05f, 37};
        Floats weight[GROUP * BLOCK];
        for (int k = 0; k < GROUP; k++) {
            const int at = BLOCK * k;
            weigh<BLOCK>(blocks.x + at, blocks.importance + at, blocks.mean_square[k], weight + at);
        }
        ScaleAndMin fit[GROUP];
        search_scale_and_min<BLOCK, MAX, false>(blocks.x, weight, grid, fit);
        for (int k = 0; k < GROUP; k++) {
            Ints q[BLOCK];
            for (int i = 0; i < BLOCK; i++) q[i] = quantized(fit[k], blocks.x[BLOCK * k + i], MAX);
            encode(fit[k].scale, -fit[k].min, q, blocks.encoded[k]);
        }
    }
};

}  // namespace

void add_Q4_1(Table & table) { table.quantize[Q4_1] = quantize_blocks<Affine<15>>; }
void add_Q5_1(Table & table) { table.quantize[Q5_1] = quantize_blocks<Affine<31>>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
