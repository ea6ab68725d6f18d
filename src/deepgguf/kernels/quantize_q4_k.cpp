// Q4_K: units (F16 each) of scales and minima, eight of either in six bits, 256 levels of four bits.
#include "families.hpp"
#include "six_bit_scales.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

struct Q4K {
    static constexpr int BYTES = 144, MAX = 15;
    static constexpr Searches SEARCHES = {{-1.0f, 0.1f, 21}, {-0.9f, 0.05f, 37}, 255};

    static void encode(const Floats * x, const Floats * importance, Ints * words) {
        ScaleAndMin fit[SUBBLOCKS];
        Ints q[SUPERBLOCK];
        const SixBitScales s = fit_superblock<MAX>(x, importance, SEARCHES, fit);
        quantize_by_scales<MAX>(x, s, fit, q);
        store_scales(s, words);
        store_nibbles(q, words + 4);
    }
};

}  // namespace

void add_Q4_K(Table & table) { table.quantize[Q4_K] = quantize_superblocks<Q4K>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
