// FP8 (E4M3, "fn": no infinities, NaN is 0x7F and 0xFF) with block scales, as DeepSeek-V3 publishes it
// (arXiv 2412.19437, section 3.3.2). value * scale is rounded to float32, then once to the destination's type. A block
// shares one scale, so all its results are 256: they are computed once and looked up.
#include "families.hpp"
#include "rounding.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

uint32_t e4m3_to_f32(uint8_t b) {
    const uint32_t sign = static_cast<uint32_t>(b & 0x80u) << 24, rest = b & 0x7Fu;
    if (rest == 0x7Fu) return sign | 0x7FC00000u;
    if (rest < 8u) return sign | bits_of(static_cast<float>(rest) * 0.001953125f);  // subnormal: multiples of 2^-9
    return sign | ((rest << 20) + ((127u - 7u) << 23));
}

struct ToF32 {
    using Stored = uint32_t;
    static constexpr uint32_t infinity = 0x7F800000u, magnitude = 0x7FFFFFFFu;
    static Stored store(uint32_t u) { return u; }
};
struct ToF16 {
    using Stored = uint16_t;
    static constexpr uint32_t infinity = 0x7C00u, magnitude = 0x7FFFu;
    static Stored store(uint32_t u) { return f32_to_f16(u); }
};
struct ToBF16 {
    using Stored = uint16_t;
    static constexpr uint32_t infinity = 0x7F80u, magnitude = 0x7FFFu;
    static Stored store(uint32_t u) { return f32_to_bf16(u); }
};

// Which of a block's 256 results are not finite, and why.
enum Kind : uint8_t { FINITE, IS_NAN, IS_INF, OVERFLOWN };

template <class To> struct Block {
    typename To::Stored result[256];
    uint8_t kind[256];
    bool plain;  // nothing but the NaN codes 0x7F and 0xFF is not finite

    void fill(const uint32_t * decoded, float scale) {
        plain = true;
        for (int b = 0; b < 256; b++) {
            const uint32_t product = bits_of(float_of(decoded[b]) * scale), magnitude = product & 0x7FFFFFFFu;
            result[b] = To::store(product);
            kind[b] = FINITE;
            if (magnitude > 0x7F800000u) kind[b] = IS_NAN;
            else if (magnitude == 0x7F800000u) kind[b] = IS_INF;
            else if ((result[b] & To::magnitude) == To::infinity) kind[b] = OVERFLOWN;
            plain &= kind[b] == ((b & 0x7F) == 0x7F ? IS_NAN : FINITE);
        }
    }
};

template <class To> void row_of_block(const uint8_t * src, typename To::Stored * dst, int64_t n, const Block<To> & block,
                                      Counts & counts) {
    uint32_t nan = 0;
    for (int64_t i = 0; i < n; i++) nan += (src[i] & 0x7Fu) == 0x7Fu;
    for (int64_t i = 0; i < n; i++) dst[i] = block.result[src[i]];
    if (block.plain) {
        counts.nan += nan;
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        counts.nan += block.kind[src[i]] == IS_NAN;
        counts.inf += block.kind[src[i]] == IS_INF;
        counts.overflow += block.kind[src[i]] == OVERFLOWN;
    }
}

template <class To> void fp8(const Fp8Run & run, void * dst, Counts & counts) {
    uint32_t decoded[256];
    for (int b = 0; b < 256; b++) decoded[b] = e4m3_to_f32(static_cast<uint8_t>(b));
    auto * out = static_cast<typename To::Stored *>(dst);
    Block<To> block;
    const int64_t first = run.row0 / run.block_rows;
    for (int64_t row = 0; row < run.rows;) {
        const int64_t block_row = (run.row0 + row) / run.block_rows;
        int64_t end = (block_row + 1) * run.block_rows - run.row0;
        if (end > run.rows) end = run.rows;
        const float * scales = run.scales + (block_row - first) * run.scale_cols;
        for (int64_t col = 0, k = 0; col < run.cols; col += run.block_cols, k++) {
            const int64_t n = run.cols - col < run.block_cols ? run.cols - col : run.block_cols;
            block.fill(decoded, scales[k]);
            for (int64_t r = row; r < end; r++) {
                row_of_block<To>(run.src + r * run.cols + col, out + r * run.cols + col, n, block, counts);
            }
        }
        row = end;
    }
}

}  // namespace

void add_fp8(Table & table) {
    table.fp8[F32] = fp8<ToF32>;
    table.fp8[F16] = fp8<ToF16>;
    table.fp8[BF16] = fp8<ToBF16>;
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
