// Q2_0: 64 weights to a block, a scale (F16), the largest magnitude, and two bits for -1 to 2 times it. As
// quantize_row_q2_0_ref in ggml-quants.c, bit for bit, which makes no 2; importance changes nothing in this type.
#include "families.hpp"
#include "rounding.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int WEIGHTS = 64, BLOCK_BYTES = 18;
constexpr float FLOAT_MAX = 0x1.fffffep+127f;

// Halves are rounded away from zero. A scale that is too small to have an inverse makes every code 0: that is what a
// conversion of infinities and NaN to an integer gives on x86, after clamping.
void quantize_block(const float * x, uint8_t * out) {
    int32_t bits = 0;
    for (int i = 0; i < WEIGHTS; i++) {
        const auto magnitude = static_cast<int32_t>(bits_of(x[i]) & 0x7FFFFFFFu);
        bits = magnitude > bits ? magnitude : bits;
    }
    const float largest = float_of(static_cast<uint32_t>(bits)), inverse = largest > 0.0f ? 1.0f / largest : 0.0f;
    const uint16_t scale = f32_to_f16(static_cast<uint32_t>(bits));
    uint8_t codes[WEIGHTS] = {};
    if (inverse <= FLOAT_MAX) {
        for (int i = 0; i < WEIGHTS; i++) {
            const float place = x[i] * inverse;
            codes[i] = static_cast<uint8_t>(1 + (place >= 0.5f) - (place <= -0.5f));
        }
    }
    memcpy(out, &scale, 2);
    for (int i = 0; i < WEIGHTS / 4; i++) {
        const uint8_t * c = codes + 4 * i;
        out[2 + i] = static_cast<uint8_t>(c[0] | c[1] << 2 | c[2] << 4 | c[3] << 6);
    }
}

void quantize(const float * src, void * dst, int64_t rows, int64_t cols, const float *) {
    auto * out = static_cast<uint8_t *>(dst);
    for (int64_t b = 0; b < rows * cols / WEIGHTS; b++) quantize_block(src + b * WEIGHTS, out + b * BLOCK_BYTES);
}

}  // namespace

void add_Q2_0(Table & table) { table.quantize[Q2_0] = quantize; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
