// The conversions of rounding.hpp, a vector of lanes at a time: 16-bit formats stand in the low half of each lane.
// Written out, since a compiler that makes vectors of the scalar ones mixes widths of lanes and is half as fast.
#pragma once
#include "lanes.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

DEEPGGUF_INLINE Ints shift_right(Ints i, int places) {
    typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
    return reinterpret_cast<Ints>(reinterpret_cast<Words>(i) >> places);
}

DEEPGGUF_INLINE Ints bf16_to_f32(Ints halves) { return halves << 16; }

DEEPGGUF_INLINE Ints f32_to_bf16(Ints i) {
    const Ints rounded = i + 0x7FFF + (shift_right(i, 16) & 1);
    return shift_right(select((i & 0x7FFFFFFF) > 0x7F800000, i | 0x00400000, rounded), 16);
}

DEEPGGUF_INLINE Ints f16_to_f32(Ints halves) {
    const Ints rest = halves & 0x7FFF, fraction = rest << 13;
    const Ints normal = fraction + select(rest > 0x7BFF, splat((255 - 31) << 23), splat((127 - 15) << 23));
    const Ints subnormal = bits_of(float_of(fraction + (113 << 23)) - float_of(splat(113 << 23)));
    return ((halves & 0x8000) << 16) | select(rest < 0x0400, subnormal, normal);
}

DEEPGGUF_INLINE Ints f32_to_f16(Ints i) {
    const Ints a = i & 0x7FFFFFFF, sign = shift_right(i, 16) & 0x8000;
    const Ints normal = shift_right(a + 0x0FFF + (shift_right(a, 13) & 1) - ((127 - 15) << 23), 13);
    const Ints subnormal = bits_of(float_of(a) + 0.5f) - bits_of(splat(0.5f));
    const Ints special = select(a > 0x7F800000, splat(0x7E00), splat(0x7C00));
    return sign | select(a < 0x477FF000, select(a < (113 << 23), subnormal, normal), special);
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
