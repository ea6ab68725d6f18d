// F32, F16 and BF16 among each other. Copies go through here too: every byte is looked at once for NaN and Inf.
#include "families.hpp"
#include "rounding.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

struct F32Bits {
    using Stored = uint32_t;
    static constexpr uint32_t infinity = 0x7F800000u, magnitude = 0x7FFFFFFFu;
    static uint32_t load(Stored s) { return s; }
    static Stored store(uint32_t u) { return u; }
};
struct F16Bits {
    using Stored = uint16_t;
    static constexpr uint32_t infinity = 0x7C00u, magnitude = 0x7FFFu;
    static uint32_t load(Stored s) { return f16_to_f32(s); }
    static Stored store(uint32_t u) { return f32_to_f16(u); }
};
struct BF16Bits {
    using Stored = uint16_t;
    static constexpr uint32_t infinity = 0x7F80u, magnitude = 0x7FFFu;
    static uint32_t load(Stored s) { return bf16_to_f32(s); }
    static Stored store(uint32_t u) { return f32_to_bf16(u); }
};

template <class T, class U> struct Same { static constexpr bool value = false; };
template <class T> struct Same<T, T> { static constexpr bool value = true; };

// In chunks that a 16-bit lane can count, so that the counting costs no wide additions.
constexpr int64_t CHUNK = 8192;

template <class From, class To>
void cast(const void * src, void * dst, int64_t n, Counts & counts) {
    using S = typename From::Stored;
    using D = typename To::Stored;
    for (int64_t start = 0; start < n; start += CHUNK) {
        const int64_t m = n - start < CHUNK ? n - start : CHUNK;
        const S * in = static_cast<const S *>(src) + start;
        D * out = static_cast<D *>(dst) + start;
        S nan = 0, inf = 0;
        D infinite = 0;
        for (int64_t i = 0; i < m; i++) {
            const S magnitude = in[i] & From::magnitude;
            nan += magnitude > From::infinity;
            inf += magnitude == From::infinity;
            if constexpr (Same<From, To>::value) {
                out[i] = in[i];
            } else {
                out[i] = To::store(From::load(in[i]));
                infinite += (out[i] & To::magnitude) == To::infinity;
            }
        }
        counts.nan += nan;
        counts.inf += inf;
        if (!Same<From, To>::value) counts.overflow += static_cast<int64_t>(infinite) - static_cast<int64_t>(inf);
    }
}

template <class From> void add_from(Table & table, Type from) {
    table.cast[from][F32] = cast<From, F32Bits>;
    table.cast[from][F16] = cast<From, F16Bits>;
    table.cast[from][BF16] = cast<From, BF16Bits>;
}

}  // namespace

void add_casts(Table & table) {
    add_from<F32Bits>(table, F32);
    add_from<F16Bits>(table, F16);
    add_from<BF16Bits>(table, BF16);
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
