// MXFP4: an exponent (E8M0) and 32 numbers of FP4 (E2M1). As quantize_row_mxfp4_ref in ggml-quants.c, bit for bit;
// importance changes nothing in this type.
#include "blocks.hpp"
#include "families.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

// floorf(log2f(x)) of positive x, as glibc's log2f has it: just below a power of two, 2^k, the logarithm may round up
// to k. x = 2^k (1 - n / 2^24), whose logarithm is k - n / 2^24 / ln 2, does so if that is nearer to k than to the
// float below k, which is 2^p / 2^23 away, 2^p being the power of two in the magnitude of that float: n < 2^p ln 2.
// (Compared with log2f for every positive float.)
DEEPGGUF_INLINE Ints floor_log2(Floats x) {
    const Mask subnormal = bits_of(x) < 0x00800000;
    const Ints bits = bits_of(select(subnormal, x * 0x1p32f, x));
    const Ints exponent = (bits >> 23) - 127 - select(subnormal, splat(32), splat(0));
    const Ints missing = 0x00800000 - (bits & 0x007FFFFF);
    // The float below k = exponent + 1 has the power of two of k - 1 if k is positive, of k if it is negative.
    const Floats power = float_of(bits_of(to_float(exponent ^ exponent >> 31)) & 0x7F800000);
    const Mask rounds_up = to_float(missing) < power * 0.69314718f;
    return exponent - rounds_up;
}

// ggml_e8m0_to_fp32_half (ggml-impl.h): 2^(e - 128).
DEEPGGUF_INLINE Floats half_power(Ints e) {
    const Ints subnormal = select(e == 0, splat(0x00200000), splat(0x00400000));
    return float_of(select(e < 2, subnormal, (e - 1) << 23));
}

struct Mxfp4 {
    using Bytes = BlockBytes<1, false>;
    static constexpr Importance IMPORTANCE = Importance::IGNORED;

    static void quantize(Blocks & blocks) {
        for (int k = 0; k < GROUP; k++) {
            const Floats * x = blocks.x + BLOCK * k;
            const Floats largest = largest_magnitude<BLOCK>(x);
            // ggml's conversion to a byte wraps around for what is smaller than 2^-125.
            const Ints e = select(largest > 0.0f, (floor_log2(largest) - 2 + 127) & 0xFF, splat(0));
            Ints q[BLOCK];
            levels(x, half_power(e), q);
            blocks.encoded[k].head = e;
            encode_nibbles(q, blocks.encoded[k].nibbles);
        }
    }

    // The magnitudes are 0, 1, 2, 3, 4, 6, 8, 12 times d. The nearest is the number of middles between them that are
    // exceeded: of two equally near, ggml takes the smaller.
    static void levels(const Floats * x, Floats d, Ints * q) {
        const Floats middle[7] = {d * 0.5f, d * 1.5f, d * 2.5f, d * 3.5f, d * 5.0f, reachable(d * 7.0f, d * 8.0f), d * 10.0f};
        for (int i = 0; i < BLOCK; i++) {
            const Floats size = magnitude(x[i]);
            Ints level = splat(0);
            for (int m = 0; m < 7; m++) level -= size > middle[m];
            q[i] = level | (shift_right(bits_of(x[i]), 28) & 8 & (level > 0));
        }
    }

    // Near the end of F32's range, eight times d is infinite, and so its distance from anything.
    static Floats reachable(Floats middle, Floats upper) { return select(upper == __builtin_inff(), upper, middle); }
};

}  // namespace

void add_MXFP4(Table & table) { table.quantize[MXFP4] = quantize_blocks<Mxfp4>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
