// Q5_K: units (F16 each) of scales and minima, eight of either in six bits, 256 fifth bits, 256 times four low bits.
#include "families.hpp"
#include "six_bit_scales.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

struct Q5K {
    static constexpr int BYTES = 176, MAX = 31;
    static constexpr Searches SEARCHES = {{-0.5f, 0.1f, 16}, {-0.9f, 0.05f, 37}, 63};

    static void encode(const Floats * x, const Floats * importance, Ints * words) {
        ScaleAndMin fit[SUBBLOCKS];
        Ints q[SUPERBLOCK];
        const SixBitScales s = fit_superblock<MAX>(x, importance, SEARCHES, fit);
        quantize_by_scales<MAX>(x, s, fit, q);
        store_scales(s, words);
        store_fifth_bits(q, words + 4);
        store_nibbles(q, words + 12);
    }

    // Bit j of byte i belongs to weight 32 * j + i.
    static void store_fifth_bits(const Ints * q, Ints * words) {
        for (int i = 0; i < SUBBLOCK; i += 4) {
            Ints bits[4] = {};
            for (int k = 0; k < 4; k++) {
                for (int j = 0; j < SUBBLOCKS; j++) bits[k] |= q[SUBBLOCK * j + i + k] >> 4 << j;
            }
            words[i / 4] = word(bits);
        }
    }
};

}  // namespace

void add_Q5_K(Table & table) { table.quantize[Q5_K] = quantize_superblocks<Q5K>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
