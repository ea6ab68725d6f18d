// TQ1_0 and TQ2_0: -1, 0 or 1 times a scale (F16), the largest magnitude. As quantize_row_tq1_0_ref and its like in
// ggml-quants.c, bit for bit; importance changes nothing in these types.
#include "families.hpp"
#include "vector_fit.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

// Digits of 0 to 2, halves away from 1, and the scale. Where it is too small to have an inverse all digits are 1, which is
// what x86 makes of infinities and NaN there.
float to_digits(const float * x, uint8_t * digits) {
    int32_t bits = 0;
    for (int i = 0; i < SUPERBLOCK; i++) {
        const auto magnitude = static_cast<int32_t>(bits_of(x[i]) & 0x7FFFFFFFu);
        bits = magnitude > bits ? magnitude : bits;
    }
    const float largest = float_of(static_cast<uint32_t>(bits)), inverse = 1.0f / largest;
    const float by = inverse <= FLOAT_MAX ? inverse : 0.0f;
    for (int i = 0; i < SUPERBLOCK; i++) {
        const float place = x[i] * by;
        digits[i] = static_cast<uint8_t>(1 + (place >= 0.5f) - (place <= -0.5f));
    }
    return largest;
}

// N bytes of five digits each, the most significant first, as fractions of 256.
template <int N> void store_fives(const uint8_t * digits, uint8_t * out) {
    for (int i = 0; i < N; i++) {
        unsigned number = 0;
        for (int k = 0; k < 5; k++) number = 3 * number + digits[i + N * k];
        out[i] = static_cast<uint8_t>(static_cast<uint16_t>(256 * number + 242) / 243);
    }
}

// 32, 16 and 4 bytes of five digits, the last of which is missing in the four; d.
struct Tq1 {
    static constexpr int BYTES = 54;

    static void encode(const float * x, const float *, uint8_t * out) {
        uint8_t digits[SUPERBLOCK + 4] = {};
        const float d = to_digits(x, digits);
        store_fives<32>(digits, out);
        store_fives<16>(digits + 160, out + 32);
        store_fives<4>(digits + 240, out + 48);
        store_half(out + 52, d);
    }
};

// 64 bytes of four digits, 32 weights apart; d.
struct Tq2 {
    static constexpr int BYTES = 66;

    static void encode(const float * x, const float *, uint8_t * out) {
        uint8_t digits[SUPERBLOCK];
        const float d = to_digits(x, digits);
        for (int half = 0; half < 2; half++) {
            const uint8_t * from = digits + 128 * half;
            for (int i = 0; i < 32; i++) {
                const int four = from[i] | from[i + 32] << 2 | from[i + 64] << 4 | from[i + 96] << 6;
                out[32 * half + i] = static_cast<uint8_t>(four);
            }
        }
        store_half(out + 64, d);
    }
};

}  // namespace

void add_TQ1_0(Table & table) { table.quantize[TQ1_0] = quantize_each<Tq1>; }
void add_TQ2_0(Table & table) { table.quantize[TQ2_0] = quantize_each<Tq2>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
