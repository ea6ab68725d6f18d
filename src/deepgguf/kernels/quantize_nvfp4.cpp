// NVFP4: 64 weights to a block, four scales (E4M3 without a sign) and four times sixteen numbers of FP4 (E2M1). As
// quantize_row_nvfp4_ref in ggml-quants.c, bit for bit; importance changes nothing in this type.
#include "families.hpp"
#include "rounding.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int WEIGHTS = 64, GROUP_WEIGHTS = 16, GROUPS = WEIGHTS / GROUP_WEIGHTS, BLOCK_BYTES = 36;
constexpr float LEVEL[8] = {0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 6.0f, 8.0f, 12.0f};  // kvalues_mxfp4: of half a scale

// ggml_fp32_to_ue4m3: halves upward; from 256 on the largest number, 448.
uint8_t to_e4m3(float x) {
    if (!(x > 0.0f)) return 0;
    if (x < 0x1p-6f) {
        const int subnormal = static_cast<int>(x * 512.0f + 0.5f);
        return static_cast<uint8_t>(subnormal > 7 ? 7 : subnormal);
    }
    const uint32_t rounded = ((bits_of(x) + 0x00080000u) >> 20) - ((127u - 7u) << 3);
    return static_cast<uint8_t>(rounded >= 15u << 3 ? 0x7Eu : rounded);
}

float half_of(uint8_t e4m3) {
    const uint32_t exponent = e4m3 >> 3, mantissa = e4m3 & 7u;
    return exponent ? float_of((exponent + 127u - 8u) << 23 | mantissa << 20) : static_cast<float>(mantissa) * 0x1p-10f;
}

// The nearest of the levels, the smallest of equally near ones. Beyond the scales' range the differences are too small
// beside the weights to be seen in float32, and that is what ggml then takes. Weights i and i + 8 share a byte.
void quantize_group(const float * x, uint8_t * scale, uint8_t * nibbles) {
    float size[GROUP_WEIGHTS], best[GROUP_WEIGHTS], largest = 0.0f;
    uint32_t code[GROUP_WEIGHTS] = {};
    for (int i = 0; i < GROUP_WEIGHTS; i++) {
        size[i] = best[i] = __builtin_fabsf(x[i]);
        largest = largest < size[i] ? size[i] : largest;
    }
    *scale = to_e4m3(largest / 6.0f);
    const float d = half_of(*scale);
    for (uint32_t l = 1; l < 8; l++) {
        for (int i = 0; i < GROUP_WEIGHTS; i++) {
            const float error = __builtin_fabsf(LEVEL[l] * d - size[i]);
            code[i] = error < best[i] ? l : code[i];
            best[i] = error < best[i] ? error : best[i];
        }
    }
    for (int i = 0; i < GROUP_WEIGHTS; i++) code[i] |= code[i] ? bits_of(x[i]) >> 28 & 8u : 0u;
    for (int i = 0; i < GROUP_WEIGHTS / 2; i++) nibbles[i] = static_cast<uint8_t>(code[i] | code[i + 8] << 4);
}

void quantize(const float * src, void * dst, int64_t rows, int64_t cols, const float *) {
    auto * out = static_cast<uint8_t *>(dst);
    for (int64_t b = 0; b < rows * cols / WEIGHTS; b++, out += BLOCK_BYTES) {
        for (int g = 0; g < GROUPS; g++) {
            quantize_group(src + b * WEIGHTS + g * GROUP_WEIGHTS, out + g, out + GROUPS + g * GROUP_WEIGHTS / 2);
        }
    }
}

}  // namespace

void add_NVFP4(Table & table) { table.quantize[NVFP4] = quantize; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
