// Bits of F16, BF16 and F32, element by element, without branches, so that a loop over them becomes vectors.
#pragma once
#include <stdint.h>
#include <string.h>

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

static inline uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static inline float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint32_t bf16_to_f32(uint16_t h) { return static_cast<uint32_t>(h) << 16; }

// Magnitudes are compared as signed numbers below: SSE2 and AVX2 compare no others.

// To nearest, ties to even; a NaN stays one (quieted, as ggml_compute_fp32_to_bf16 does in ggml-impl.h).
static inline uint16_t f32_to_bf16(uint32_t u) {
    const uint32_t rounded = u + 0x7FFFu + ((u >> 16) & 1u), quiet = u | 0x00400000u;
    const bool nan = static_cast<int32_t>(u & 0x7FFFFFFFu) > 0x7F800000;
    return static_cast<uint16_t>((nan ? quiet : rounded) >> 16);
}

static inline uint32_t f16_to_f32(uint16_t h) {
    const uint32_t half = h, sign = (half & 0x8000u) << 16, fraction = (half & 0x7FFFu) << 13;
    const int32_t rest = static_cast<int32_t>(half & 0x7FFFu);
    const uint32_t normal = fraction + (rest > 0x7BFF ? (255u - 31u) << 23 : (127u - 15u) << 23);
    // With the exponent of 2^-14 in place of 0, a subnormal has a leading 1 that it must not have: that is subtracted.
    const uint32_t subnormal = bits_of(float_of(fraction + (113u << 23)) - float_of(113u << 23));
    return sign | (rest < 0x0400 ? subnormal : normal);
}

// To nearest, ties to even, subnormals included; too large becomes infinite, a NaN stays one (quiet).
static inline uint16_t f32_to_f16(uint32_t u) {
    const uint32_t sign = (u >> 16) & 0x8000u, a = u & 0x7FFFFFFFu;
    const int32_t magnitude = static_cast<int32_t>(a);
    const uint32_t normal = (a + 0x0FFFu + ((a >> 13) & 1u) - ((127u - 15u) << 23)) >> 13;
    const uint32_t subnormal = bits_of(float_of(a) + 0.5f) - bits_of(0.5f);  // 0.5's last place is F16's smallest number
    const uint32_t finite = magnitude < (113 << 23) ? subnormal : normal;
    const uint32_t special = magnitude > 0x7F800000 ? 0x7E00u : 0x7C00u;
    return static_cast<uint16_t>(sign | (magnitude < 0x477FF000 ? finite : special));
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
