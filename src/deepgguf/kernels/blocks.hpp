// Blocks of 32 weights, GROUP vectors of them at a time, one block to a lane. A block depends on its row only through
// importance and the mean square of the row's weights, so the lanes may hold blocks of several rows.
#pragma once
#include "scale_search.hpp"
#include "superblocks.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

constexpr int BLOCK = 32;
constexpr int NIBBLES = 4;  // words of them in a block
constexpr int SIDE_BY_SIDE = GROUP * LANES;

// A vector of blocks as they are written: scales in the low bytes of `head`, fifth bits where a type has them, nibbles.
struct Encoded {
    Ints head, fifth, nibbles[NIBBLES];
};

// x[BLOCK * k + i] holds weight i of the blocks of vector k.
struct Blocks {
    Floats x[GROUP * BLOCK], importance[GROUP * BLOCK];
    Floats mean_square[GROUP];  // of the blocks' rows
    Encoded encoded[GROUP];
};

// Bytes of a block.
template <int HEAD, bool FIFTH> struct BlockBytes {
    static constexpr int head = HEAD, fifth = FIFTH ? 4 : 0, nibbles = 4 * NIBBLES, all = head + fifth + nibbles;
};

// What importance does in a type: nothing; weights that depend on the block only, or on the mean square of the row too.
enum class Importance { IGNORED, OF_BLOCK, OF_ROW };

// The mean squares of up to LANES rows, each summed in the order of its columns.
static inline void mean_squares(const float * src, int64_t rows, int64_t cols, float * result) {
    Floats sum = splat(0.0f);
    for (int64_t col = 0; col < cols; col += BLOCK) {
        const float * row[LANES];
        for (int64_t lane = 0; lane < LANES; lane++) row[lane] = src + (lane < rows ? lane : 0) * cols + col;
        Floats x[BLOCK];
        load_columns(row, BLOCK, x);
        for (int i = 0; i < BLOCK; i++) sum += x[i] * x[i];
    }
    sum /= static_cast<float>(cols);
    memcpy(result, &sum, sizeof sum);
}

// Rows that are quantized together.
struct BlockRun {
    const float * src;
    char * dst;
    int64_t count, per_row;          // blocks
    const float * importance;        // of a row, or null
    const float * row_mean_squares;  // or null
};

static inline void load_blocks(const BlockRun & run, int64_t first, Blocks & blocks) {
    for (int k = 0; k < GROUP; k++) {
        const float *row[LANES], *weights[LANES] = {};
        float mean_square[LANES] = {};
        for (int lane = 0; lane < LANES; lane++) {
            const int64_t at = first + k * LANES + lane, block = at < run.count ? at : 0;
            row[lane] = run.src + block * BLOCK;
            if (run.importance) weights[lane] = run.importance + block % run.per_row * BLOCK;
            if (run.row_mean_squares) mean_square[lane] = run.row_mean_squares[block / run.per_row];
        }
        load_columns(row, BLOCK, blocks.x + BLOCK * k);
        if (run.importance) load_columns(weights, BLOCK, blocks.importance + BLOCK * k);
        memcpy(&blocks.mean_square[k], mean_square, sizeof mean_square);
    }
}

template <class Bytes> static inline void store_blocks(const BlockRun & run, int64_t first, const Encoded & encoded) {
    const int used = run.count - first < LANES ? static_cast<int>(run.count - first) : LANES;
    uint32_t head[LANES], fifth[LANES], nobodys[NIBBLES], *nibbles[LANES];
    char * const out = run.dst + first * Bytes::all;
    memcpy(head, &encoded.head, sizeof head);
    memcpy(fifth, &encoded.fifth, sizeof fifth);
    for (int lane = 0; lane < LANES; lane++) {
        char * block = out + lane * Bytes::all + Bytes::head + Bytes::fifth;
        nibbles[lane] = lane < used ? reinterpret_cast<uint32_t *>(block) : nobodys;
    }
    store_columns(encoded.nibbles, NIBBLES, nibbles);
    for (int lane = 0; lane < used; lane++) {
        memcpy(out + lane * Bytes::all, head + lane, Bytes::head);
        memcpy(out + lane * Bytes::all + Bytes::head, fifth + lane, Bytes::fifth);
    }
}

template <class Family> static inline void quantize_loaded(Blocks & blocks, bool weighted) {
    if constexpr (Family::IMPORTANCE != Importance::IGNORED) {
        if (weighted) return Family::quantize_weighted(blocks);
    }
    Family::quantize(blocks);
}

// Family::Bytes are its BlockBytes, Family::IMPORTANCE what it does with importance; Family::quantize(blocks) and, where
// importance is not ignored, Family::quantize_weighted(blocks) fill in `encoded`.
template <class Family>
static void quantize_blocks(const float * src, void * dst, int64_t rows, int64_t cols, const float * importance) {
    const int64_t per_row = cols / BLOCK;
    auto * out = static_cast<char *>(dst);
    Blocks blocks = {};
    if (Family::IMPORTANCE == Importance::IGNORED) importance = nullptr;
    const bool by_rows = importance && Family::IMPORTANCE == Importance::OF_ROW;
    const int64_t step = by_rows ? LANES : rows;
    for (int64_t row = 0; row < rows; row += step) {
        const int64_t n = rows - row < step ? rows - row : step;
        float row_mean_squares[LANES];
        if (by_rows) mean_squares(src + row * cols, n, cols, row_mean_squares);
        const BlockRun run = {src + row * cols, out + row * per_row * Family::Bytes::all, n * per_row, per_row, importance,
                              by_rows ? row_mean_squares : nullptr};
        for (int64_t first = 0; first < run.count; first += SIDE_BY_SIDE) {
            load_blocks(run, first, blocks);
            quantize_loaded<Family>(blocks, importance != nullptr);
            for (int k = 0; k < GROUP && first + k * LANES < run.count; k++) {
                store_blocks<typename Family::Bytes>(run, first + k * LANES, blocks.encoded[k]);
            }
        }
    }
}

// Nibbles as all these types have them: weights i and i + 16 share byte i.
static inline void encode_nibbles(const Ints * q, Ints * nibbles) {
    for (int i = 0; i < BLOCK / 2; i += 4) {
        Ints pair[4];
        for (int k = 0; k < 4; k++) pair[k] = (q[i + k] & 0xF) | (q[i + k + BLOCK / 2] & 0xF) << 4;
        nibbles[i / 4] = word(pair);
    }
}

// The fifth bit of weight i as bit i.
static inline Ints fifth_bits(const Ints * q) {
    Ints bits = splat(0);
    for (int i = 0; i < BLOCK; i++) bits |= (q[i] >> 4 & 1) << i;
    return bits;
}

// What ggml's conversions from float to a byte make of infinities and NaN, which come of a scale that is too small to
// have an inverse, is 0. NaN times any weight is NaN, and becomes 0 or -2^31 here, whose lower bytes are 0.
DEEPGGUF_INLINE Floats inverse_of(Floats scale) {
    const Floats inverse = select(scale == 0.0f, scale, 1.0f / scale);
    return select(magnitude(inverse) == __builtin_inff(), splat(__builtin_nanf("")), inverse);
}

DEEPGGUF_INLINE Ints truncate(Floats f) { return __builtin_convertvector(f, Ints); }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
