// What one level of kernels offers. A level is the whole set compiled for one instruction set (sse2, avx2, avx512,
// neon, wide); module.cpp chooses one at import. Kernel files include no C++ library headers and keep every function
// of their own static: an inline function shared between levels would be merged by the linker, and the copy that it
// keeps could hold instructions that this machine does not have.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace deepgguf {

// ggml's numbers of types (ggml.h, enum ggml_type).
enum Type : int {
    F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13,
    Q6_K = 14, IQ4_NL = 20, IQ4_XS = 23, BF16 = 30, MXFP4 = 39, TYPES = 48
};

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
};

}  // namespace deepgguf
