// FP4 codes and their scales, which a checkpoint keeps apart, as blocks of MXFP4: bytes are moved, nothing is computed.
// In vectors of sixteen bytes, which every processor has and which are as fast as the memory: it needs no levels.
// Little-endian, as GGUF.
#pragma once
#include <stdint.h>
#include <string.h>

#include "interleave.hpp"

namespace deepgguf {

constexpr int64_t MXFP4_CODES = 16, MXFP4_BLOCK = 17;  // bytes of 32 weights

// Nibbles are taken apart and put together in words of eight bytes: a vector of bytes cannot be shifted.
typedef uint64_t Words __attribute__((vector_size(16)));

// ggml-common.h, block_mxfp4: the scale, then bytes of which each has column i low and column i + 16 high.
inline void pack_mxfp4(const uint8_t * codes, const uint8_t * scales, uint8_t * dst, int64_t blocks) {
    constexpr uint64_t LOW = 0x0F0F0F0F0F0F0F0F;
    for (int64_t i = 0; i < blocks; i++, codes += MXFP4_CODES, dst += MXFP4_BLOCK) {
        Words pairs;
        memcpy(&pairs, codes, sizeof pairs);
        const Bytes even = reinterpret_cast<Bytes>(pairs & LOW), odd = reinterpret_cast<Bytes>(pairs >> 4 & LOW);
        const Words first = reinterpret_cast<Words>(interleave_low(even, odd));
        const Words packed = first | reinterpret_cast<Words>(interleave_high(even, odd)) << 4;
        dst[0] = scales[i];
        memcpy(dst + 1, &packed, sizeof packed);
    }
}

}  // namespace deepgguf
