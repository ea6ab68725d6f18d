// IQ4_NL and IQ4_XS: levels of four bits that are not evenly spaced. IQ4_NL has a scale (F16) for 32 weights; IQ4_XS has
// eight scales of six bits for 256, and their unit (F16). As quantize_row_iq4_nl_impl in ggml-quants.c, bit for bit.
#include "blocks.hpp"
#include "families.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr int LEVELS = 16;
constexpr int LEVEL[LEVELS] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};  // kvalues_iq4nl

// Halfway between level i and the next. A multiple of 0.5, and near it the differences that best_index_int8 compares are
// exact: what is below it is nearer to level i, and nothing else.
constexpr float border(int i) { return 0.5f * static_cast<float>(LEVEL[i] + LEVEL[i + 1]); }

// best_index_int8. The highest level for NaN, as there.
DEEPGGUF_INLINE Ints nearest_index(Floats x) {
    Ints index = splat(LEVELS - 1);
    for (int i = 0; i < LEVELS - 1; i++) index += x < border(i);
    return index;
}

DEEPGGUF_INLINE Floats nearest_level(Floats x) {
    Floats level = splat(static_cast<float>(LEVEL[LEVELS - 1]));
    for (int i = LEVELS - 2; i >= 0; i--) level = select(x < border(i), splat(static_cast<float>(LEVEL[i])), level);
    return level;
}

// Sums of weight * level * x and of weight * level^2.
struct Sums {
    Floats qx, q2;
};

// The candidates scale the largest weight to -134 ... -120. From the smallest to the largest scale a product grows by a
// factor of 1.117, neighbouring borders of one sign differ by 1.23 at least: a weight passes one border at most, and
// has one of two levels, whose terms of the sums are computed once.
struct Choice {
    Floats x, border;
    Sums below, above;
};

constexpr int STEPS = 7;           // candidates to each side of -127
constexpr int TOGETHER = 3;        // candidates at a time: as many as the registers hold
constexpr int CANDIDATES = 2 * STEPS + 1;
static_assert(CANDIDATES % TOGETHER == 0, "");

DEEPGGUF_INLINE Sums terms(Floats weight, Floats level, Floats x) {
    const Floats scaled = weight * level;
    return {scaled * x, scaled * level};
}

// A border and the levels on both sides in one word, so that one select moves all three.
constexpr int32_t packed(int i) {
    return static_cast<int32_t>(static_cast<uint32_t>(LEVEL[i] + LEVEL[i + 1]) << 16 |
                                (static_cast<uint32_t>(LEVEL[i]) & 0xFFu) << 8 | (static_cast<uint32_t>(LEVEL[i + 1]) & 0xFFu));
}

// `highest` is the largest product of x with a candidate's scale: the border to be passed is the last one below it.
DEEPGGUF_INLINE Choice choice_of(Floats weight, Floats x, Floats highest) {
    Ints chosen = splat(packed(0));
    for (int i = 1; i < LEVELS - 1; i++) chosen = select(highest >= border(i), splat(packed(i)), chosen);
    const Floats border = to_float(chosen >> 16) * 0.5f;
    const Floats below = to_float(chosen << 16 >> 24), above = to_float(chosen << 24 >> 24);
    return {x, border, terms(weight, below, x), terms(weight, above, x)};
}

DEEPGGUF_INLINE Floats candidate(int step, Floats max) { return static_cast<float>(step + LEVEL[0]) / max; }

// The best scale of a block of 32.
static inline Floats search_level_scale(const Floats * x, const Floats * weight) {
    const Floats max = extremum<BLOCK>(x);
    const Floats inverse = 1.0f / (-max / static_cast<float>(LEVEL[0]));
    const Floats smallest = candidate(STEPS, max), largest = candidate(-STEPS, max);
    Choice choices[BLOCK];
    Sums first = {splat(0.0f), splat(0.0f)};
    for (int i = 0; i < BLOCK; i++) {
        const Sums term = terms(weight[i], nearest_level(inverse * x[i]), x[i]);
        first.qx += term.qx;
        first.q2 += term.q2;
        choices[i] = choice_of(weight[i], x[i], larger(smallest * x[i], largest * x[i]));
    }
    Floats scale = select(first.q2 > 0.0f, first.qx / first.q2, splat(0.0f)), best = scale * first.qx;
    for (int step = -STEPS; step <= STEPS; step += TOGETHER) {
        Floats by[TOGETHER];
        Sums sums[TOGETHER] = {};
        for (int c = 0; c < TOGETHER; c++) by[c] = candidate(step + c, max);
        for (const Choice & choice : choices) {
            for (int c = 0; c < TOGETHER; c++) {
                const Mask below = by[c] * choice.x < choice.border;
                sums[c].qx += select(below, choice.below.qx, choice.above.qx);
                sums[c].q2 += select(below, choice.below.q2, choice.above.q2);
            }
        }
        for (const Sums & sum : sums) {
            const Mask better = (sum.q2 > 0.0f) & (sum.qx * sum.qx > best * sum.q2);
            scale = select(better, sum.qx / sum.q2, scale);
            best = select(better, scale * sum.qx, best);
        }
    }
    return select(magnitude(max) < NEGLIGIBLE, splat(0.0f), scale);
}

// 1 / x, or zero for zero.
DEEPGGUF_INLINE Floats reciprocal(Floats x) { return select(x == 0.0f, splat(0.0f), 1.0f / x); }

// The weights of a block's errors without importance.
DEEPGGUF_INLINE void square(const Floats * x, Floats * weight) {
    for (int i = 0; i < BLOCK; i++) weight[i] = x[i] * x[i];
}

struct Iq4Nl {
    using Bytes = BlockBytes<2, false>;
    static constexpr Importance IMPORTANCE = Importance::OF_BLOCK;

    static void quantize(Blocks & blocks) {
        Floats weight[BLOCK];
        for (int k = 0; k < GROUP; k++) {
            square(blocks.x + BLOCK * k, weight);
            finish(blocks.x + BLOCK * k, weight, blocks.encoded[k]);
        }
    }

    static void quantize_weighted(Blocks & blocks) {
        Floats weight[BLOCK];
        for (int k = 0; k < GROUP; k++) {
            const Floats *x = blocks.x + BLOCK * k, *importance = blocks.importance + BLOCK * k;
            weigh<BLOCK>(x, importance, sum_of_squares(x, BLOCK) * (2.0f / BLOCK), weight);
            finish(x, weight, blocks.encoded[k]);
        }
    }

    static void finish(const Floats * x, const Floats * weight, Encoded & encoded) {
        const Floats scale = search_level_scale(x, weight), inverse = reciprocal(scale);
        Ints q[BLOCK];
        for (int i = 0; i < BLOCK; i++) q[i] = nearest_index(inverse * x[i]);
        encoded.head = to_f16(scale);
        encode_nibbles(q, encoded.nibbles);
    }
};

struct Iq4Xs {
    static constexpr int BYTES = 136, SUBBLOCKS = SUPERBLOCK / BLOCK;

    static void encode(const Floats * x, const Floats * importance, Ints * words) {
        Floats scale[SUBBLOCKS], weight[BLOCK], mean_square = splat(0.0f);
        if (importance) mean_square = sum_of_squares(x, SUPERBLOCK) * (2.0f / SUPERBLOCK);
        for (int j = 0; j < SUBBLOCKS; j++) {
            const int at = BLOCK * j;
            if (importance) weigh<BLOCK>(x + at, importance + at, mean_square, weight);
            else square(x + at, weight);
            scale[j] = search_level_scale(x + at, weight);
        }
        const Floats unit = -extremum<SUBBLOCKS>(scale) / 32.0f, inverse = reciprocal(unit);
        Ints low = splat(0), high = splat(0);
        for (int j = 0; j < SUBBLOCKS; j++) {
            const Ints level = clamp(nearest_int(inverse * scale[j]), -32, 31);
            const Floats by = reciprocal(unit * to_float(level));
            Ints q[BLOCK];
            for (int i = 0; i < BLOCK; i++) q[i] = nearest_index(by * x[BLOCK * j + i]);
            encode_nibbles(q, words + 2 + 4 * j);
            low |= ((level + 32) & 0xF) << 4 * j;
            high |= (level + 32) >> 4 << 2 * j;
        }
        words[0] = to_f16(unit) | high << 16;
        words[1] = low;
    }
};

}  // namespace

void add_IQ4_NL(Table & table) { table.quantize[IQ4_NL] = quantize_blocks<Iq4Nl>; }
void add_IQ4_XS(Table & table) { table.quantize[IQ4_XS] = quantize_superblocks<Iq4Xs>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
