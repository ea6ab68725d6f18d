// Q8_0: 32 weights to a block, a scale in F16 and 32 signed bytes. As quantize_row_q8_0_ref in ggml-quants.c, bit for bit;
// importance changes nothing in this type.
#include "families.hpp"
#include "rounding.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int WEIGHTS = 32, BLOCK_BYTES = 34;

// Blocks whose scales are computed side by side.
constexpr int GROUP = 16;

// To nearest, halves away from zero. The largest float below 0.5 is added rather than 0.5, which would carry
// 0.49999997 up to 1.
inline int8_t round_half_away(float f) {
    const uint32_t sign = bits_of(f) & 0x80000000u;
    return static_cast<int8_t>(static_cast<int32_t>(f + float_of(sign | 0x3EFFFFFFu)));
}

inline uint32_t largest_magnitude(const float * x) {
    int32_t largest = 0;
    for (int i = 0; i < WEIGHTS; i++) {
        const int32_t magnitude = static_cast<int32_t>(bits_of(x[i]) & 0x7FFFFFFFu);
        largest = magnitude > largest ? magnitude : largest;
    }
    return static_cast<uint32_t>(largest);
}

inline void quantize_blocks(const float * x, uint8_t * out, int blocks) {
    uint32_t largest[GROUP] = {};
    float inverse[GROUP];
    uint16_t scale[GROUP];
    for (int b = 0; b < blocks; b++) largest[b] = largest_magnitude(x + b * WEIGHTS);
    for (int b = 0; b < GROUP; b++) {
        const float d = float_of(largest[b]) / 127.0f;
        const uint32_t inverted = bits_of(1.0f / d);
        // Zero and the scales too small to have an inverse give zeros: ggml's conversion of infinity to a byte is 0.
        inverse[b] = float_of(inverted == 0x7F800000u ? 0u : inverted);
        scale[b] = f32_to_f16(bits_of(d));
    }
    for (int b = 0; b < blocks; b++) {
        const float * weights = x + b * WEIGHTS;
        const float id = inverse[b];
        int8_t q[WEIGHTS];
        for (int i = 0; i < WEIGHTS; i++) q[i] = round_half_away(weights[i] * id);
        memcpy(out + b * BLOCK_BYTES, scale + b, 2);
        memcpy(out + b * BLOCK_BYTES + 2, q, WEIGHTS);
    }
}

void quantize(const float * src, void * dst, int64_t rows, int64_t cols, const float *) {
    auto * out = static_cast<uint8_t *>(dst);
    const int64_t blocks = rows * cols / WEIGHTS;
    for (int64_t b = 0; b < blocks; b += GROUP) {
        const int64_t count = blocks - b < GROUP ? blocks - b : GROUP;
        quantize_blocks(src + b * WEIGHTS, out + b * BLOCK_BYTES, static_cast<int>(count));
    }
}

}  // namespace

void add_Q8_0(Table & table) { table.quantize[Q8_0] = quantize; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
