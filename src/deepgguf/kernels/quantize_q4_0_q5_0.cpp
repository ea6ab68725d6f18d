// Q4_0 and Q5_0: a scale (F16) and 32 levels around zero, of four bits, or of five, the fifth ones apart. As
// quantize_row_q4_0_ref and, with importance, quantize_row_q4_0_impl in ggml-quants.c, bit for bit.
#include "blocks.hpp"
#include "families.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

// MAX is the level of zero, and the largest magnitude of a level.
template <int MAX> struct Symmetric {
    static constexpr bool FIFTH = MAX == 16;
    using Bytes = BlockBytes<2, FIFTH>;
    static constexpr Importance IMPORTANCE = Importance::OF_ROW;

    static void encode(Floats scale, const Ints * q, Encoded & encoded) {
        encoded.head = to_f16(scale);
        if (FIFTH) encoded.fifth = fifth_bits(q);
        encode_nibbles(q, encoded.nibbles);
    }

    static void quantize(Blocks & blocks) {
        for (int k = 0; k < GROUP; k++) {
            const Floats * x = blocks.x + BLOCK * k;
            const Floats scale = extremum<BLOCK>(x) / static_cast<float>(-MAX), inverse = inverse_of(scale);
            Ints q[BLOCK];
            for (int i = 0; i < BLOCK; i++) q[i] = at_most(truncate(x[i] * inverse + (MAX + 0.5f)), 2 * MAX - 1);
            encode(scale, q, blocks.encoded[k]);
        }
    }

    static void quantize_weighted(Blocks & blocks) {
        for (int k = 0; k < GROUP; k++) {
            const Floats *x = blocks.x + BLOCK * k, *importance = blocks.importance + BLOCK * k;
            Floats weight[BLOCK];
            weigh<BLOCK>(x, importance, blocks.mean_square[k], weight);
            const Scale fit = search_scale<BLOCK, MAX, true>(x, weight);
            Ints q[BLOCK];
            for (int i = 0; i < BLOCK; i++) q[i] = quantized(fit, x[i], MAX);
            encode(fit.scale, q, blocks.encoded[k]);
        }
    }
};

}  // namespace

void add_Q4_0(Table & table) { table.quantize[Q4_0] = quantize_blocks<Symmetric<8>>; }
void add_Q5_0(Table & table) { table.quantize[Q5_0] = quantize_blocks<Symmetric<16>>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
