// Q1_0: 128 weights to a block, a scale (F16), the mean magnitude, and a bit for each weight, 1 for those that are not
// negative. As quantize_row_q1_0_ref in ggml-quants.c, bit for bit; importance changes nothing in this type.
#include "families.hpp"
#include "lanes.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int WEIGHTS = 128, SIGN_WORDS = WEIGHTS / 32, SIGN_BYTES = WEIGHTS / 8, BLOCK_BYTES = 2 + SIGN_BYTES;

// The first `used` of LANES blocks, side by side: the magnitudes of each are summed in the order of its weights.
void quantize_blocks(const float * src, uint8_t * out, int used) {
    const float * row[LANES];
    for (int lane = 0; lane < LANES; lane++) row[lane] = src + (lane < used ? lane : 0) * WEIGHTS;
    Floats x[WEIGHTS], sum = splat(0.0f);
    Ints signs[SIGN_WORDS] = {};
    load_columns(row, WEIGHTS, x);
    for (int i = 0; i < WEIGHTS; i++) {
        sum += magnitude(x[i]);
        signs[i / 32] |= Mask(x[i] >= 0.0f) & splat(static_cast<int32_t>(1u << i % 32));
    }
    const Ints scales = to_f16(sum / static_cast<float>(WEIGHTS));
    int32_t scale[LANES];
    uint32_t words[LANES][SIGN_WORDS], * lanes[LANES];
    memcpy(scale, &scales, sizeof scale);
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = words[lane];
    store_columns(signs, SIGN_WORDS, lanes);
    for (int lane = 0; lane < used; lane++) {
        const auto half = static_cast<uint16_t>(scale[lane]);
        memcpy(out + lane * BLOCK_BYTES, &half, 2);
        memcpy(out + lane * BLOCK_BYTES + 2, words[lane], SIGN_BYTES);
    }
}

void quantize(const float * src, void * dst, int64_t rows, int64_t cols, const float *) {
    auto * out = static_cast<uint8_t *>(dst);
    const int64_t blocks = rows * cols / WEIGHTS;
    for (int64_t b = 0; b < blocks; b += LANES) {
        const int used = blocks - b < LANES ? static_cast<int>(blocks - b) : LANES;
        quantize_blocks(src + b * WEIGHTS, out + b * BLOCK_BYTES, used);
    }
}

}  // namespace

void add_Q1_0(Table & table) { table.quantize[Q1_0] = quantize; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
