// The search of IQ2 and IQ3 for a sub-block's scale and points, as quantize_row_iq2_xs_impl and its like in
// ggml-quants.c, bit for bit. Each candidate for the scale rounds every vector to levels; a vector that is no point is
// replaced by the best of the points near it; the sums over the sub-block then say how good the candidate is.
//
// Candidates are lanes. From one to the next a vector's levels seldom change, and in such a run the errors of two points
// differ by s * (a line in s), s being the scale: what is better at both ends of a run is better between them. So points
// are searched at the ends only, unless they differ, or an error is so near another that rounding could decide.
#pragma once
#include "nearest_point.hpp"
#include "superblocks.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

// Vectors that are searched again at the scale that was found: those off the lattice; if there is any, all; all.
enum class Again { OFF_LATTICE, ALL_IF_ANY, ALL };

inline int nearest_int(float f) { return static_cast<int>(bits_of(f + ROUNDER) & 0x007FFFFFu) - 0x00400000; }

inline int clamped(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

// N weights that have a scale of their own: their values, made positive but for those flipped, what they weigh, and the
// square roots of that.
template <int N> struct SubBlock {
    float x[N], weight[N], root[N];
};

template <class Rule> struct VectorFit {
    using Points = typename Rule::Points;
    static constexpr int N = Rule::SUBBLOCK, COORDS = Points::COORDS, VECTORS = N / COORDS, BITS = Points::BITS;
    static constexpr int TOP = 2 * Points::LEVELS - 1;  // the highest level at scale 1; the lowest is 1
    static constexpr int CANDIDATES = 2 * Rule::STEPS + 1, PARTS_OF_THEM = (CANDIDATES + LANES - 1) / LANES;
    static constexpr int ROUNDED_UP = PARTS_OF_THEM * LANES;
    static constexpr uint32_t EVERY = (1u << VECTORS) - 1u;

    // A level is certain if its value is so far from the border of two. Added to a code: it is not.
    static constexpr float BORDER = 0.5f - 1e-4f;
    static constexpr uint32_t NEAR_BORDER = 1u << 16;

    // Of an error's largest possible value, twice and more what all roundings amount to (eight terms: 1.6e-6).
    static constexpr float DOUBT = 1e-5f, SMALLEST_DOUBT = 1e-37f;

    const Lattice<Points> & lattice;
    const SubBlock<N> & block;
    ByLevel levels;
    float largest, range;
    bool tame;  // no value or product is near the ends of the floats' range

    float scale;
    uint32_t code[VECTORS], off;  // bit v of `off`: vector v was no point

    // Of every candidate, and a vector more, which is written but not read.
    float inverses[ROUNDED_UP], scales[ROUNDED_UP], doubts[VECTORS];
    uint32_t rounded[VECTORS][ROUNDED_UP + LANES], chosen[VECTORS][2 * ROUNDED_UP];

    VectorFit(const Lattice<Points> & lattice, const SubBlock<N> & block) : lattice(lattice), block(block) {
        float odd[Points::LEVELS];
        for (int l = 0; l < Points::LEVELS; l++) odd[l] = static_cast<float>(2 * l + 1);
        levels = by_level<Points>(odd);
        largest = largest_magnitude_of(block.x);
        tame = largest_magnitude_of(block.root) <= 1e15f && largest <= 1e15f;
    }

    // `of_top` is what the highest level stands for in the middle candidate; `first` the scale if no candidate is any good.
    void fit(float of_top, float first) {
        range = of_top;
        tame = tame && largest <= 1e4f * range;
        set_candidates();
        set_doubts();
        for (int v = 0; v < VECTORS; v++) {
            if (tame) round_candidates<true>(v);
            else round_candidates<false>(v);
        }
        choose_points();
        scale = first;
        off = Rule::AGAIN == Again::OFF_LATTICE ? 0 : EVERY;
        for (uint32_t & c : code) c = 0;
        take_best();
        if (off && scale > 0.0f) refine();
    }

  private:
    // As whole numbers, which become vectors; NaN is larger than anything.
    static float largest_magnitude_of(const float * x) {
        int32_t largest = 0;
        for (int i = 0; i < N; i++) {
            const auto bits = static_cast<int32_t>(bits_of(x[i]) & 0x7FFFFFFFu);
            largest = bits > largest ? bits : largest;
        }
        return float_of(static_cast<uint32_t>(largest));
    }

    void set_candidates() {
        for (int c = 0; c < ROUNDED_UP; c++) {
            const int step = (c < CANDIDATES ? c : CANDIDATES - 1) - Rule::STEPS;
            inverses[c] = (static_cast<float>(TOP) + static_cast<float>(step) * Rule::STEP) / range;
            scales[c] = 1.0f / inverses[c];
        }
    }

    // The levels of vector v for every candidate. TAME promises that |place| <= 2^22.
    template <bool TAME> void round_candidates(int v) {
        for (int p = 0; p < PARTS_OF_THEM; p++) {
            Floats half_inverse;
            memcpy(&half_inverse, inverses + p * LANES, sizeof half_inverse);
            half_inverse *= 0.5f;
            Floats farthest = splat(0.0f), sum = splat(0.0f);
            Ints found = splat(0);
            for (int j = 0; j < COORDS; j++) {
                const Floats place = half_inverse * block.x[v * COORDS + j] - 0.5f;
                if constexpr (TAME) {
                    const Floats within = smaller(larger(place, splat(0.0f)), splat(static_cast<float>(Points::LEVELS - 1)));
                    const Floats level = nearest(within);
                    farthest = larger(magnitude(within - level), farthest);
                    sum += level * static_cast<float>(1 << BITS * j);
                } else {
                    found |= clamp(nearest_int(place), 0, Points::LEVELS - 1) << BITS * j;
                }
            }
            if (TAME) found = __builtin_convertvector(sum, Ints);
            found |= (farthest > BORDER) & static_cast<int32_t>(NEAR_BORDER);
            memcpy(rounded[v] + p * LANES, &found, sizeof found);
        }
    }

    Target target(int v) const { return {block.x + v * COORDS, block.root + v * COORDS, &levels}; }

    // Bit c says that candidate c's levels are not those of the next one; set for the last one.
    uint64_t ends_of_runs(int v) const {
        uint64_t same = 0;
        for (int p = 0; p < PARTS_OF_THEM; p++) {
            Ints here, next;
            memcpy(&here, rounded[v] + p * LANES, sizeof here);
            memcpy(&next, rounded[v] + p * LANES + 1, sizeof next);
            same |= static_cast<uint64_t>(lanes_of(here == next)) << p * LANES;
        }
        return ~same | uint64_t(1) << (CANDIDATES - 1);
    }

    // A run of candidates that round a vector to the same levels, the point that is best at its first one and up to
    // `last_of_low`, and the one that is best at its last. If the levels are a point, it is both.
    struct Run {
        int vector, first, last, last_of_low, place;
        uint16_t low, high;
        bool settled;
    };

    // In stages, each a loop over runs that hardly branches.
    void choose_points() {
        Run runs[VECTORS * CANDIDATES];
        uint16_t open[VECTORS * CANDIDATES];
        int count = 0, searched = 0, unsettled = 0;
        for (int v = 0; v < VECTORS; v++) {
            uint64_t ends = ends_of_runs(v);
            for (int first = 0, last; first < CANDIDATES; first = last + 1, ends &= ends - 1) {
                last = __builtin_ctzll(ends);
                const auto code = static_cast<uint16_t>(rounded[v][first] & (NEAR_BORDER - 1));
                const int place = lattice.place[code];
                runs[count] = {v, first, last, last, place, code, code, true};
                open[searched] = static_cast<uint16_t>(count++);
                searched += place < 0;
            }
        }
        for (int i = 0; i < searched; i++) {
            search_ends(runs[open[i]]);
            open[unsettled] = open[i];
            unsettled += !runs[open[i]].settled;
        }
        for (int i = 0; i < count; i++) {
            choose_from(runs[i].vector, runs[i].first, runs[i].low);
            choose_from(runs[i].vector, runs[i].last_of_low + 1, runs[i].high);
        }
        for (int i = 0; i < unsettled; i++) choose_between(runs[open[i]]);
    }

    const List & list_of(const Run & run) const {
        return list_of(run.place, tame && !(rounded[run.vector][run.first] & NEAR_BORDER));
    }

    void search(const Run & run, int c0, int c1, Found found[2]) const {
        const List & list = list_of(run);
        nearest_points<Points>(lattice.entries + list.first, list.count, target(run.vector), scales[c0], scales[c1],
                               doubts[run.vector], found);
    }

    void search_ends(Run & run) const {
        Found ends[2];
        search(run, run.first, run.last, ends);
        const bool certain = ends[0].certain & ends[1].certain, same = ends[0].code == ends[1].code;
        run.low = static_cast<uint16_t>(ends[0].code);
        run.high = static_cast<uint16_t>(ends[1].code);
        run.last_of_low = certain & same ? run.last : run.first;
        run.settled = (certain & same) | (run.last - run.first <= 1);
        if (!run.settled && certain) search_crossing(run);
    }

    // Where one point becomes better than the other: the difference of their errors is the scale times a line in it.
    void search_crossing(Run & run) const {
        const float low = scales[run.first], high = scales[run.last];
        const Target weights = target(run.vector);
        const float at_low = (error_of<Points>(run.high, weights, low) - error_of<Points>(run.low, weights, low)) / low;
        const float at_high = (error_of<Points>(run.low, weights, high) - error_of<Points>(run.high, weights, high)) / high;
        const float crossing = low + (high - low) * (at_low / (at_low + at_high));
        const float candidate = (range / crossing - static_cast<float>(TOP)) / Rule::STEP + static_cast<float>(Rule::STEPS);
        const auto least = static_cast<float>(run.first), most = static_cast<float>(run.last - 1);
        const int before = static_cast<int>(candidate < least ? least : candidate < most ? candidate : most);
        Found middle[2];
        search(run, before, before + 1, middle);
        run.settled = middle[0].certain & middle[1].certain & (middle[0].code == run.low) & (middle[1].code == run.high);
        if (run.settled) run.last_of_low = before;
    }

    // Searches all that is not settled, one by one.
    void choose_between(const Run & run) {
        const List & list = list_of(run);
        for (int c = run.first + 1; c < run.last; c++) {
            chosen[run.vector][c] = nearest_point<Points>(lattice.entries + list.first, list.count, target(run.vector),
                                                          scales[c], doubts[run.vector]).code;
        }
    }

    // For candidate `first` and all later ones; what comes behind the run is overwritten by the next.
    void choose_from(int v, int first, uint32_t code) {
        const Ints all = splat(static_cast<int32_t>(code));
        for (int p = 0; p < PARTS_OF_THEM; p++) memcpy(chosen[v] + first + p * LANES, &all, sizeof all);
    }

    const List & list_of(int place, bool rounding_is_certain) const {
        return (rounding_is_certain ? lattice.open : lattice.all)[-1 - place];
    }

    // So much that errors which differ by more do so at every scale of a run; negative if no amount is enough.
    void set_doubts() {
        float most[N];
        for (int i = 0; i < N; i++) {
            const float off = static_cast<float>(TOP) * scales[0] + __builtin_fabsf(block.x[i]);
            most[i] = block.root[i] * off * off;
        }
        for (int v = 0; v < VECTORS; v++) {
            float sum = 0.0f;
            for (int i = v * COORDS; i < (v + 1) * COORDS; i++) sum += most[i];
            doubts[v] = tame ? DOUBT * sum + SMALLEST_DOUBT : -1.0f;
        }
    }

    bool is_point(int v, int c) const { return lattice.place[rounded[v][c] & (NEAR_BORDER - 1)] >= 0; }

    void take_best() {
        Floats sum_qx[PARTS_OF_THEM] = {}, sum_q2[PARTS_OF_THEM] = {};
        for (int v = 0; v < VECTORS; v++) {
            Ints codes[PARTS_OF_THEM];
            memcpy(codes, chosen[v], sizeof codes);
            for (int i = v * COORDS; i < (v + 1) * COORDS; i++) {
                const float w = block.weight[i], wx = w * block.x[i];
                for (int p = 0; p < PARTS_OF_THEM; p++) {
                    const Floats q = look_up<Points>(levels, codes[p]);
                    sum_qx[p] += wx * q;
                    sum_q2[p] += w * q * q;
                    codes[p] >>= BITS;
                }
            }
        }
        float qx[ROUNDED_UP], q2[ROUNDED_UP], best = 0.0f;
        memcpy(qx, sum_qx, sizeof qx);
        memcpy(q2, sum_q2, sizeof q2);
        int taken = -1;
        for (int c = 0; c < CANDIDATES; c++) {
            if (q2[c] > 0.0f && qx[c] * qx[c] > best * q2[c]) {
                scale = qx[c] / q2[c];
                best = scale * qx[c];
                taken = c;
            }
        }
        if (taken < 0) return;
        for (int v = 0; v < VECTORS; v++) code[v] = chosen[v][taken];
        if (Rule::AGAIN == Again::ALL) return;
        off = 0;
        for (int v = 0; v < VECTORS; v++) off |= static_cast<uint32_t>(!is_point(v, taken)) << v;
    }

    // Rounds to the scale that was found, and fits the scale to what that gives.
    void refine() {
        const float inverse = 1.0f / scale;
        for (int v = 0; v < VECTORS; v++) {
            if (Rule::AGAIN == Again::OFF_LATTICE && !(off >> v & 1)) continue;
            const uint32_t here = round_at(v, inverse);
            const int place = lattice.place[here & (NEAR_BORDER - 1)];
            code[v] = here & (NEAR_BORDER - 1);
            if (place >= 0) continue;
            const List & list = list_of(place, tame && scale < 1e30f && !(here & NEAR_BORDER));
            code[v] = nearest_point<Points>(lattice.entries + list.first, list.count, target(v), scale, -1.0f).code;
        }
        float sum_qx = 0.0f, sum_q2 = 0.0f;
        for (int i = 0; i < N; i++) {
            const float w = block.weight[i];
            const auto q = static_cast<float>(2 * level(i) + 1);
            sum_qx += w * block.x[i] * q;
            sum_q2 += w * q * q;
        }
        if (sum_q2 > 0.0f) scale = sum_qx / sum_q2;
    }

    uint32_t round_at(int v, float inverse) const {
        uint32_t found = 0;
        for (int j = 0; j < COORDS; j++) {
            const float place = 0.5f * (inverse * block.x[v * COORDS + j] - 1.0f);
            found |= static_cast<uint32_t>(clamped(nearest_int(place), 0, Points::LEVELS - 1)) << BITS * j;
            const float rest = __builtin_fabsf(place - ((place + ROUNDER) - ROUNDER));
            if (!(rest <= BORDER && place <= 1e5f && place >= -1e5f)) found |= NEAR_BORDER;
        }
        return found;
    }

    int level(int i) const {
        return static_cast<int>(code[i / COORDS] >> BITS * (i % COORDS) & ((1u << BITS) - 1u));
    }
};

// What the encodings of the IQ2 and IQ3 types start with: a super-block's weights by importance (ggml-quants.c, where
// each of these quantizers begins), and its signs, a byte for eight.
struct Signed {
    float x[SUPERBLOCK], weight[SUPERBLOCK], root[SUPERBLOCK];
    uint8_t signs[SUPERBLOCK / 8];
};

inline float sum_of_squares(const float * x) {
    float sum = 0.0f;
    for (int i = 0; i < SUPERBLOCK; i++) sum += x[i] * x[i];
    return sum;
}

static inline void weigh_by_importance(const float * x, const float * importance, float mean_square, float * weight) {
    for (int i = 0; i < SUPERBLOCK; i++) weight[i] = importance[i] * __builtin_sqrtf(mean_square + x[i] * x[i]);
}

static inline void split_signs(const float * x, Signed & block) {
    for (int i = 0; i < SUPERBLOCK; i++) {
        block.root[i] = __builtin_sqrtf(block.weight[i]);
        block.x[i] = x[i] >= 0.0f ? x[i] : -x[i];
    }
    for (int k = 0; k < SUPERBLOCK / 8; k++) {
        int signs = 0;
        for (int i = 0; i < 8; i++) signs |= (x[8 * k + i] >= 0.0f ? 0 : 1) << i;
        block.signs[k] = static_cast<uint8_t>(signs);
    }
}

// Of eight signs only seven are stored, for their number is even: where it is not, the weight that matters least is given
// the wrong sign.
static inline void make_signs_even(const float * x, Signed & block) {
    for (int k = 0; k < SUPERBLOCK / 8; k++) {
        if (__builtin_popcount(block.signs[k]) % 2) {
            float least = 0.0f;
            int at = 0;
            for (int i = 0; i < 8; i++) {
                const float error = block.weight[8 * k + i] * x[8 * k + i] * x[8 * k + i];
                if (i == 0 || error < least) {
                    least = error;
                    at = i;
                }
            }
            block.x[8 * k + at] = -block.x[8 * k + at];
            block.signs[k] = static_cast<uint8_t>(block.signs[k] ^ 1 << at);
        }
        block.signs[k] &= 127;
    }
}

template <int N> static inline float largest_of(const float * x) {
    float largest = x[0];
    for (int i = 1; i < N; i++) largest = largest > x[i] ? largest : x[i];
    return largest;
}

// A sub-block's scale in four bits, by what one of them is worth.
inline uint32_t four_bit_scale(float inverse, float scale) {
    return static_cast<uint32_t>(clamped(nearest_int(0.5f * (inverse * scale - 1.0f)), 0, 15));
}

// A sub-block as it is stored: its scale, 0 for an empty one, and the index of every vector's point.
template <int VECTORS> struct Stored {
    float scale;
    uint32_t index[VECTORS];
};

// Fits a sub-block. A scale below zero is made positive, and the signs of its weights are exchanged for it.
template <class Rule>
static inline void fit_subblock(const Signed & block, int at, float range, float first, uint8_t * signs,
                                Stored<Rule::SUBBLOCK / Rule::Points::COORDS> & stored) {
    constexpr int N = Rule::SUBBLOCK;
    const auto & lattice = Lattice<typename Rule::Points>::get();
    SubBlock<N> part;
    memcpy(part.x, block.x + at, sizeof part.x);
    memcpy(part.weight, block.weight + at, sizeof part.weight);
    memcpy(part.root, block.root + at, sizeof part.root);
    VectorFit<Rule> found(lattice, part);
    found.fit(range, first);
    stored.scale = found.scale;
    if (stored.scale < 0.0f) {
        stored.scale = -stored.scale;
        for (int k = 0; k < N / 8; k++) signs[k] = static_cast<uint8_t>(~signs[k] & Rule::SIGN_BITS);
    }
    // Not a number: of values without any order. ggml ends itself there.
    if (!(stored.scale >= 0.0f)) stored.scale = 0.0f;
    for (int v = 0; v < N / Rule::Points::COORDS; v++) stored.index[v] = lattice.index(found.code[v]);
}

// One super-block after the other.
template <class Family>
static void quantize_each(const float * src, void * dst, int64_t rows, int64_t cols, const float * importance) {
    auto * out = static_cast<uint8_t *>(dst);
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t col = 0; col < cols; col += SUPERBLOCK, out += Family::BYTES) {
            Family::encode(src + row * cols + col, importance ? importance + col : nullptr, out);
        }
    }
}

inline void store_half(uint8_t * out, float value) {
    const uint16_t half = f32_to_f16(bits_of(value));
    memcpy(out, &half, 2);
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
