// FP8 (E4M3, "fn": no infinities, NaN is 0x7F and 0xFF) with block scales, as DeepSeek-V3 publishes it
// (arXiv 2412.19437, section 3.3.2). value * scale is rounded to float32, then once to the destination's type. A block
// shares one scale, so all its results are 256: they are computed once and looked up.
#include "families.hpp"
#include "formats.hpp"
#include "interleave.hpp"

#if defined(__SSSE3__)
#include <tmmintrin.h>
#define DEEPGGUF_LOOKS_UP_BYTES
#elif defined(__aarch64__)
#include <arm_neon.h>
#define DEEPGGUF_LOOKS_UP_BYTES
#endif

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int CODES = 256;

uint32_t e4m3_to_f32(uint8_t code) {
    const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24, rest = code & 0x7Fu;
    if (rest == 0x7Fu) return sign | 0x7FC00000u;
    if (rest < 8u) return sign | bits_of(static_cast<float>(rest) * 0.001953125f);  // subnormal: multiples of 2^-9
    return sign | ((rest << 20) + ((127u - 7u) << 23));
}

bool has_nan(const uint8_t * codes, int64_t n) {
    uint8_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t rest = codes[i] & 0x7Fu;
        largest = rest > largest ? rest : largest;
    }
    return largest == 0x7Fu;
}

// The products of all codes with one scale, and of each: is it NaN, infinite, or finite but too large for the type?
template <class To> class Products {
    typename To::Element product[CODES];
    bool nan[CODES], inf[CODES], overflow[CODES];
    bool plain = true;  // nothing but the two NaN codes is not finite

public:
    Products(const uint32_t * decoded, float scale) {
        Tile tile;
        for (int code = 0; code < CODES; code++) {
            tile.words[code] = bits_of(float_of(decoded[code]) * scale);
            const uint32_t magnitude = tile.words[code] & F32Format::magnitude;
            nan[code] = magnitude > F32Format::infinity;
            inf[code] = magnitude == F32Format::infinity;
            overflow[code] = magnitude >= To::infinite_from && magnitude < F32Format::infinity;
            if (magnitude >= To::infinite_from && (code & 0x7F) != 0x7F) plain = false;
        }
        compute_lanes(tile, CODES, [](Ints products) { return To::encode(products); });
        narrow<To>(tile, CODES, product);
    }

    void row(const uint8_t * src, int64_t n, typename To::Element * dst, Counts & counts) const {
        for (int64_t i = 0; i < n; i++) dst[i] = product[src[i]];
        if (plain && !has_nan(src, n)) return;
        for (int64_t i = 0; i < n; i++) {
            counts.nan += nan[src[i]];
            counts.inf += inf[src[i]];
            counts.overflow += overflow[src[i]];
        }
    }
};

#ifdef DEEPGGUF_LOOKS_UP_BYTES
// While no product leaves the range of normal numbers, rounding to BF16 commutes with powers of two: all products are
// those of the codes below 16 (the subnormals and the first exponent) times a power of two. Sixteen fit into a vector,
// and one instruction looks up sixteen of them.
constexpr int FIRST = sizeof(Bytes);

DEEPGGUF_INLINE Bytes look_up(Bytes table, Bytes index) {
#if defined(__SSSE3__)
    return reinterpret_cast<Bytes>(_mm_shuffle_epi8(reinterpret_cast<__m128i>(table), reinterpret_cast<__m128i>(index)));
#else
    return reinterpret_cast<Bytes>(vqtbl1q_u8(reinterpret_cast<uint8x16_t>(table), reinterpret_cast<uint8x16_t>(index)));
#endif
}

// Whether the products of all codes, 2^-9 to 448 times the scale, are normal numbers with room to spare.
bool all_normal(float scale) {
    const uint32_t magnitude = bits_of(scale) & F32Format::magnitude;
    return magnitude > (27u << 23) && magnitude < (227u << 23);  // 2^-100 to 2^100
}

class NormalProducts {
    Bytes low, high;  // bytes of the first products

    void convert(Bytes codes, Half * dst) const {
        const Bytes exponents = codes & 0x78, one = Bytes{} + 8;
        const Bytes above = (exponents > one ? exponents : one) - 8;  // 8 for every power of two
        const Bytes index = (codes & 0x7F) - above;
        const Bytes lows = look_up(low, index), highs = look_up(high, index) ^ (codes & 0x80);
        const Halves products[2] = {interleave_low(lows, highs) + (interleave_low(above, Bytes{}) << 4),
                                    interleave_high(lows, highs) + (interleave_high(above, Bytes{}) << 4)};
        memcpy(dst, products, sizeof products);
    }

public:
    NormalProducts(const uint32_t * decoded, float scale) {
        uint8_t lows[FIRST], highs[FIRST];
        for (int code = 0; code < FIRST; code++) {
            const uint16_t product = f32_to_bf16(bits_of(float_of(decoded[code]) * scale));
            lows[code] = static_cast<uint8_t>(product);
            highs[code] = static_cast<uint8_t>(product >> 8);
        }
        memcpy(&low, lows, FIRST);
        memcpy(&high, highs, FIRST);
    }

    void row(const uint8_t * src, int64_t n, Half * dst, Counts & counts) const {
        int64_t i = 0;
        Bytes codes = {};
        for (; i + FIRST <= n; i += FIRST) {
            memcpy(&codes, src + i, FIRST);
            convert(codes, dst + i);
        }
        if (i < n) {
            Half last[FIRST];
            memcpy(&codes, src + i, static_cast<size_t>(n - i));
            convert(codes, last);
            memcpy(dst + i, last, static_cast<size_t>(n - i) * sizeof *last);
        }
        if (!has_nan(src, n)) return;
        for (i = 0; i < n; i++) {
            if ((src[i] & 0x7Fu) != 0x7Fu) continue;
            dst[i] = static_cast<uint16_t>(0x7FC0u | (src[i] & 0x80u) << 8);
            counts.nan++;
        }
    }
};
#endif

// A block's part of a run: rows of n codes and as many elements, each `stride` after the one before.
template <class To> struct Part {
    const uint8_t * src;
    typename To::Element * dst;
    int64_t rows, n, stride;

    template <class AnyProducts> void look_up_all(const AnyProducts & products, Counts & counts) const {
        for (int64_t r = 0; r < rows; r++) products.row(src + r * stride, n, dst + r * stride, counts);
    }
};

template <class To> struct Scaler {
    uint32_t decoded[CODES];

    Scaler() {
        for (int code = 0; code < CODES; code++) decoded[code] = e4m3_to_f32(static_cast<uint8_t>(code));
    }

    void scale(const Part<To> & part, float scale, Counts & counts) const {
        part.look_up_all(Products<To>(decoded, scale), counts);
    }
};

#ifdef DEEPGGUF_LOOKS_UP_BYTES
template <> void Scaler<BF16Format>::scale(const Part<BF16Format> & part, float scale, Counts & counts) const {
    if (all_normal(scale)) part.look_up_all(NormalProducts(decoded, scale), counts);
    else part.look_up_all(Products<BF16Format>(decoded, scale), counts);
}
#endif

template <class To> void fp8(const Fp8Run & run, void * dst, Counts & counts) {
    auto * out = static_cast<typename To::Element *>(dst);
    const Scaler<To> scaler;
    const int64_t first = run.row0 / run.block_rows;
    for (int64_t row = 0; row < run.rows;) {
        const int64_t block_row = (run.row0 + row) / run.block_rows;
        int64_t end = (block_row + 1) * run.block_rows - run.row0;
        if (end > run.rows) end = run.rows;
        const float * scales = run.scales + (block_row - first) * run.scale_cols;
        for (int64_t col = 0, k = 0; col < run.cols; col += run.block_cols, k++) {
            const int64_t n = run.cols - col < run.block_cols ? run.cols - col : run.block_cols, at = row * run.cols + col;
            scaler.scale(Part<To>{run.src + at, out + at, end - row, n, run.cols}, scales[k], counts);
        }
        row = end;
    }
}

}  // namespace

void add_fp8(Table & table) {
    table.fp8[F32] = fp8<F32Format>;
    table.fp8[F16] = fp8<F16Format>;
    table.fp8[BF16] = fp8<BF16Format>;
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
