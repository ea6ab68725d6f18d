// What one level of kernels offers. A level is the whole set compiled for one instruction set (sse2, avx2, avx512,
// neon, wide); module.cpp chooses one at import. Kernel files include no C++ library headers and keep every function
// of their own static: an inline function shared between levels would be merged by the linker, and the copy that it
// keeps could hold instructions that this machine does not have.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace deepgguf {

enum Type : int {
#define TYPE(name, number, ...) name = number,
#include "types.def"
};

// Places in a table that has one for every number.
static constexpr int places() {
    int count = 0;
#define TYPE(name, number, ...) if (number >= count) count = number + 1;
#include "types.def"
    return count;
}
constexpr int TYPES = places();

// What a kernel saw on its way: elements that are NaN or infinite in the source (for FP8, after the scale), and finite
// elements that became infinite because the destination's type is too narrow.
struct Counts {
    int64_t nan = 0, inf = 0, overflow = 0;
};

// src and dst hold n elements; unaligned pointers are allowed.
using Cast = void (*)(const void * src, void * dst, int64_t n, Counts & counts);

// A run of rows of an FP8 (E4M3) matrix: rows x cols bytes, contiguous, the first of which is row `row0` of the matrix.
// `scales` is row-major, one per block, `scale_cols` to a row, its first row that of the block holding row0.
struct Fp8Run {
    const uint8_t * src;
    int64_t rows, cols, row0;
    const float * scales;
    int64_t scale_cols, block_rows, block_cols;
};
using Fp8 = void (*)(const Fp8Run & run, void * dst, Counts & counts);

// rows x cols floats, contiguous, to rows of blocks. `importance`: one weight per column, or null.
using Quantize = void (*)(const float * src, void * dst, int64_t rows, int64_t cols, const float * importance);

struct Table {
    const char * name;
    int lanes;
    Cast cast[TYPES][TYPES];  // between F32, F16 and BF16; same to same counts and copies
    Fp8 fp8[TYPES];           // to F32, F16 and BF16
    Quantize quantize[TYPES];
    bool needs_importance[TYPES];  // whether `quantize` cannot do without
};

}  // namespace deepgguf
