// F32, F16 and BF16 as kernels read and write them: tiles of elements are widened to words, computed with in lanes, and
// narrowed. Every loop is over one width of element, which becomes a better vector than a mixed one.
#pragma once
#include "lanes.hpp"
#include "table.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

// Elements in buffers of bytes, at any address.
typedef uint16_t Half __attribute__((aligned(1), may_alias));
typedef uint32_t Word __attribute__((aligned(1), may_alias));

// Elements to a tile: a multiple of LANES, and few enough to stay in the L1 cache from loop to loop.
constexpr int TILE = 1024;

struct Tile {
    alignas(4 * LANES) uint32_t words[TILE];
};

// Applies `compute` (Ints to Ints) to the first n words of a tile, rounded up to whole vectors.
template <class Compute> static inline void compute_lanes(Tile & tile, int64_t n, Compute compute) {
    for (int64_t i = 0; i < n; i += LANES) {
        Ints lanes;
        memcpy(&lanes, tile.words + i, sizeof lanes);
        lanes = compute(lanes);
        memcpy(tile.words + i, &lanes, sizeof lanes);
    }
}

// `magnitude` and `infinity` are bits of the format itself. `infinite_from` is the smallest magnitude, in bits of F32,
// that rounds to infinity in it: halfway between its largest number and the power of two above. `reaching` is its
// smallest magnitude that is no less than one of F32.
struct F32Format {
    using Element = Word;
    using Signed = int32_t;
    static constexpr uint32_t magnitude = 0x7FFFFFFFu, infinity = 0x7F800000u, infinite_from = infinity;
    static constexpr uint32_t reaching(uint32_t f32) { return f32; }
    __attribute__((always_inline)) static inline Ints decode(Ints i) { return i; }
    __attribute__((always_inline)) static inline Ints encode(Ints i) { return i; }
};
struct F16Format {
    using Element = Half;
    using Signed = int16_t;
    static constexpr uint32_t magnitude = 0x7FFFu, infinity = 0x7C00u, infinite_from = 0x477FF000u;
    static constexpr uint32_t reaching(uint32_t) { return infinity; }  // its finite numbers are finite in the others
    __attribute__((always_inline)) static inline Ints decode(Ints i) { return f16_to_f32(i); }
    __attribute__((always_inline)) static inline Ints encode(Ints i) { return f32_to_f16(i); }
};
struct BF16Format {
    using Element = Half;
    using Signed = int16_t;
    static constexpr uint32_t magnitude = 0x7FFFu, infinity = 0x7F80u, infinite_from = 0x7F7F8000u;
    static constexpr uint32_t reaching(uint32_t f32) { return (f32 + 0xFFFFu) >> 16; }
    __attribute__((always_inline)) static inline Ints decode(Ints i) { return bf16_to_f32(i); }
    __attribute__((always_inline)) static inline Ints encode(Ints i) { return f32_to_bf16(i); }
};

template <class Format> static inline void widen(const typename Format::Element * src, int64_t n, Tile & tile) {
    for (int64_t i = 0; i < n; i++) tile.words[i] = src[i];
    for (int64_t i = n; i % LANES; i++) tile.words[i] = 0;
}

template <class Format> static inline void narrow(const Tile & tile, int64_t n, typename Format::Element * dst) {
    for (int64_t i = 0; i < n; i++) dst[i] = static_cast<typename Format::Element>(tile.words[i]);
}

// Computed as signed numbers, which every instruction set can compare.
template <class Format> static inline uint32_t largest_magnitude(const typename Format::Element * src, int64_t n) {
    typename Format::Signed largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const auto magnitude = static_cast<typename Format::Signed>(src[i] & Format::magnitude);
        largest = magnitude > largest ? magnitude : largest;
    }
    return static_cast<uint32_t>(largest);
}

// Elements of which NaN, infinite, and finite but no less than `infinite_from`, all in the format's own bits.
template <class Format>
static void count(const typename Format::Element * src, int64_t n, uint32_t infinite_from, Counts & counts) {
    for (int64_t i = 0; i < n; i++) {
        const uint32_t magnitude = src[i] & Format::magnitude;
        counts.nan += magnitude > Format::infinity;
        counts.inf += magnitude == Format::infinity;
        counts.overflow += magnitude >= infinite_from && magnitude < Format::infinity;
    }
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
