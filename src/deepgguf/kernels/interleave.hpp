// Two vectors of sixteen bytes, byte by byte in turn: what every processor does in two instructions.
#pragma once
#include <stdint.h>

namespace deepgguf {

typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef uint16_t Halves __attribute__((vector_size(16)));

#if defined(__clang__) || __GNUC__ >= 12
#define DEEPGGUF_INTERLEAVE(a, b, ...) reinterpret_cast<Halves>(__builtin_shufflevector(a, b, __VA_ARGS__))
#else
#define DEEPGGUF_INTERLEAVE(a, b, ...) reinterpret_cast<Halves>(__builtin_shuffle(a, b, Bytes{__VA_ARGS__}))
#endif

static inline __attribute__((always_inline)) Halves interleave_low(Bytes a, Bytes b) {
    return DEEPGGUF_INTERLEAVE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

static inline __attribute__((always_inline)) Halves interleave_high(Bytes a, Bytes b) {
    return DEEPGGUF_INTERLEAVE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

}  // namespace deepgguf
