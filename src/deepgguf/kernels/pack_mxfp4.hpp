// FP4 codes and their scales, which a checkpoint keeps apart, as blocks of MXFP4: bytes are moved, nothing is computed.
// In words of eight bytes, which is as fast as the memory: it needs no levels. Little-endian, as GGUF.
#pragma once
#include <stdint.h>
#include <string.h>

namespace deepgguf {

constexpr int64_t MXFP4_CODES = 16, MXFP4_BLOCK = 17;  // bytes of 32 weights

// Four bytes of two codes each, the even column's low, as eight bytes of one code each.
inline uint64_t one_to_a_byte(const uint8_t * pairs) {
    uint32_t four;
    memcpy(&four, pairs, sizeof four);
    uint64_t wide = four;
    wide = (wide | wide << 16) & 0x0000FFFF0000FFFF;
    wide = (wide | wide << 8) & 0x00FF00FF00FF00FF;
    return (wide | wide << 4) & 0x0F0F0F0F0F0F0F0F;
}

// ggml-common.h, block_mxfp4: the scale, then bytes of which each has column i low and column i + 16 high.
inline void pack_mxfp4(const uint8_t * codes, const uint8_t * scales, uint8_t * dst, int64_t blocks) {
    for (int64_t i = 0; i < blocks; i++, codes += MXFP4_CODES, dst += MXFP4_BLOCK) {
        dst[0] = scales[i];
        for (int half = 0; half < 2; half++) {
            const uint64_t packed = one_to_a_byte(codes + 4 * half) | one_to_a_byte(codes + 8 + 4 * half) << 4;
            memcpy(dst + 1 + 8 * half, &packed, sizeof packed);
        }
    }
}

}  // namespace deepgguf
