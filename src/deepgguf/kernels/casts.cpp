// F32, F16 and BF16 among each other. Copies go through here too: every element is looked at for NaN and Inf.
#include "families.hpp"
#include "formats.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

// The largest magnitude tells whether there is anything to count, and mostly there is nothing.
template <class From, class To> void cast(const void * src, void * dst, int64_t n, Counts & counts) {
    constexpr uint32_t infinite_from = From::reaching(To::infinite_from);
    Tile tile;
    for (int64_t start = 0; start < n; start += TILE) {
        const int64_t m = n - start < TILE ? n - start : TILE;
        const auto * in = static_cast<const typename From::Element *>(src) + start;
        if (largest_magnitude<From>(in, m) >= infinite_from) count<From>(in, m, infinite_from, counts);
        widen<From>(in, m, tile);
        compute_lanes(tile, m, [](Ints i) { return To::encode(From::decode(i)); });
        narrow<To>(tile, m, static_cast<typename To::Element *>(dst) + start);
    }
}

// BF16 is the upper half of F32: one loop, without a tile.
void extend(const void * src, void * dst, int64_t n, Counts & counts) {
    for (int64_t start = 0; start < n; start += TILE) {
        const int64_t m = n - start < TILE ? n - start : TILE;
        const auto * in = static_cast<const Half *>(src) + start;
        auto * out = static_cast<Word *>(dst) + start;
        if (largest_magnitude<BF16Format>(in, m) >= BF16Format::infinity) count<BF16Format>(in, m, BF16Format::infinity, counts);
        for (int64_t i = 0; i < m; i++) out[i] = bf16_to_f32(in[i]);
    }
}

template <class Format> void copy(const void * src, void * dst, int64_t n, Counts & counts) {
    for (int64_t start = 0; start < n; start += TILE) {
        const int64_t m = n - start < TILE ? n - start : TILE;
        const auto * in = static_cast<const typename Format::Element *>(src) + start;
        if (largest_magnitude<Format>(in, m) >= Format::infinity) count<Format>(in, m, Format::infinity, counts);
        memcpy(static_cast<typename Format::Element *>(dst) + start, in, static_cast<size_t>(m) * sizeof *in);
    }
}

}  // namespace

void add_casts(Table & table) {
    table.cast[F32][F32] = copy<F32Format>;
    table.cast[F32][F16] = cast<F32Format, F16Format>;
    table.cast[F32][BF16] = cast<F32Format, BF16Format>;
    table.cast[F16][F32] = cast<F16Format, F32Format>;
    table.cast[F16][F16] = copy<F16Format>;
    table.cast[F16][BF16] = cast<F16Format, BF16Format>;
    table.cast[BF16][F32] = extend;
    table.cast[BF16][F16] = cast<BF16Format, F16Format>;
    table.cast[BF16][BF16] = copy<BF16Format>;
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
