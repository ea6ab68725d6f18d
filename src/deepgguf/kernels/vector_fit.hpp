// The search of IQ2 and IQ3 for a sub-block's scale and points, as quantize_row_iq2_xs_impl and its like in
// ggml-quants.c, bit for bit. Each candidate for the scale rounds every vector to levels; a vector that is no point is
// replaced by the best of the points near it; the sums over the sub-block then say how good the candidate is.
//
// Candidates' inverse scales rise in equal steps, so that between which of them a value's level rises is known without
// rounding it for each. From one candidate to the next a vector's levels seldom change, and in such a run the error of a
// point is s * (a line in s) and what is the same for all, s being the scale: the point whose line is lowest at both ends
// of a run is the best between them. Lines are rounded otherwise than ggml's errors, so a point counts as the best only if
// all others are farther above it than rounding can make up for; else its errors are computed as ggml does.
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

// One bit of each level for eight of them in a row, as they are in codes: bit j becomes the lowest of level j. With four
// levels to a vector, the upper four bits are added to the lower.
template <class Points> struct Spread {
    uint16_t of[256];

    constexpr Spread() : of() {
        for (int bits = 0; bits < 256; bits++) {
            for (int j = 0; j < 8; j++) {
                of[bits] = static_cast<uint16_t>(of[bits] + ((bits >> j & 1) << Points::BITS * (j % Points::COORDS)));
            }
        }
    }
};
template <class Points> constexpr Spread<Points> spread = {};

template <class Rule> struct VectorFit {
    using Points = typename Rule::Points;
    static constexpr int N = Rule::SUBBLOCK, COORDS = Points::COORDS, VECTORS = N / COORDS, BITS = Points::BITS;
    static constexpr int TOP = 2 * Points::LEVELS - 1;  // the highest level at scale 1; the lowest is 1
    static constexpr int CANDIDATES = 2 * Rule::STEPS + 1, PARTS_OF_THEM = (CANDIDATES + LANES - 1) / LANES;
    static constexpr int ROUNDED_UP = PARTS_OF_THEM * LANES;
    static constexpr uint32_t EVERY = (1u << VECTORS) - 1u;

    // Of the borders between levels, so many at most can a value cross from the first candidate to the last: the scale
    // falls by no more than a third.
    static constexpr int CROSSED = Points::LEVELS == 3 ? 2 : 3, CROSSINGS = 16;

    // Candidate c's inverse scale is (c + MIDDLE) * STEP / range.
    static constexpr float MIDDLE = static_cast<float>(TOP) / Rule::STEP - static_cast<float>(Rule::STEPS);

    // So near to a candidate, a crossing may be on either side of it; roundings amount to 3e-5.
    static constexpr float NEAR = 1e-3f;

    // Of an error's largest possible value, three times and more what all roundings amount to (IQUANTS: 1.6e-6).
    static constexpr float DOUBT = 5e-6f, SMALLEST_DOUBT = 1e-37f;

    static constexpr uint32_t NO_POINT = 1u << 16;  // added to a code that was chosen in place of another

    const Lattice<Points> & lattice;
    const SubBlock<N> & block;
    ByLevel levels;
    float largest, range;
    bool tame;  // no value or product is near the ends of the floats' range

    float scale;
    uint32_t code[VECTORS], off;  // bit v of `off`: vector v was no point

    float inverses[ROUNDED_UP], scales[ROUNDED_UP], doubts[VECTORS];

    // Of each vector: where its values cross borders, counted in candidates; the code before all crossings; at which
    // candidates a run starts, and which are too near to a crossing.
    float crossings[VECTORS][CROSSINGS];
    uint32_t first_code[VECTORS], starts[VECTORS], near[VECTORS];

    uint32_t chosen[VECTORS][2 * ROUNDED_UP];  // a vector more for each, which is written but not read

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
        tame = tame && largest <= 1e4f * range && range >= 1e-30f;
        set_candidates();
        if (tame) {
            set_doubts();
            find_crossings();
            choose_points();
        } else {
            choose_one_by_one();
        }
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

    Target target(int v) const { return {block.x + v * COORDS, block.root + v * COORDS, &levels}; }

    // What differences of lines must exceed; ggml's errors have the scale as a factor more.
    void set_doubts() {
        float most[N];
        for (int i = 0; i < N; i++) {
            const float off = static_cast<float>(TOP) * scales[0] + __builtin_fabsf(block.x[i]);
            most[i] = block.root[i] * off * off;
        }
        for (int v = 0; v < VECTORS; v++) {
            float sum = 0.0f;
            for (int i = v * COORDS; i < (v + 1) * COORDS; i++) sum += most[i];
            doubts[v] = (DOUBT * sum + SMALLEST_DOUBT) * inverses[CANDIDATES - 1];
        }
    }

    // Value x is at the border below level b where candidate c's inverse is 2b / x.
    void find_crossings() {
        for (int v = 0; v < VECTORS; v++) starts[v] = near[v] = 0;
        constexpr int TOGETHER = COORDS < LANES ? COORDS : LANES;
        const Floats never = splat(static_cast<float>(CANDIDATES) - 0.75f), always = splat(-0.75f);
        if (CROSSED * COORDS < CROSSINGS) {
            for (auto & of_vector : crossings) {
                for (int k = CROSSED * COORDS; k < CROSSINGS; k++) of_vector[k] = static_cast<float>(CANDIDATES);
            }
        }
        const float unit = 2.0f / Rule::STEP * range;
        for (int i = 0; i < N; i += LANES) {
            const Floats step = unit / larger(load(block.x + i), splat(range * 1e-3f));  // from border to border
            const Floats first = Points::LEVELS == 3 ? splat(0.0f) : larger(nearest(MIDDLE / step - 0.51f), splat(0.0f));
            Ints start = splat(0);
            for (int k = 0; k < CROSSED; k++) {
                const Floats border = first + static_cast<float>(k + 1);
                Floats at = border * step - MIDDLE;
                if (Points::LEVELS > 3) at = select(border < static_cast<float>(Points::LEVELS), at, never);
                at = larger(smaller(at, never), always);
                const Floats candidate = nearest(at);
                Mask close = magnitude(at - candidate) < NEAR;
                if (any(close)) at = settle(close, i, border, candidate, at);
                start |= splat(1) << __builtin_convertvector(nearest(at + 0.5f), Ints);
                for (int lane = 0; lane < LANES; lane += TOGETHER) {
                    const int v = (i + lane) / COORDS;
                    memcpy(&crossings[v][k * COORDS + (i + lane) % COORDS], reinterpret_cast<float *>(&at) + lane,
                           sizeof(float) * TOGETHER);
                }
            }
            for (int lane = 0; lane < LANES; lane++) starts[(i + lane) / COORDS] |= static_cast<uint32_t>(start[lane]);
            const Ints levels_at_first = __builtin_convertvector(first, Ints);
            for (int lane = 0; lane < LANES; lane += TOGETHER) {
                uint32_t sum = (i + lane) % COORDS ? first_code[(i + lane) / COORDS] : 0;
                if (Points::LEVELS > 3) {
                    for (int j = 0; j < TOGETHER; j++) {
                        sum |= static_cast<uint32_t>(levels_at_first[lane + j]) << BITS * ((i + lane + j) % COORDS);
                    }
                }
                first_code[(i + lane) / COORDS] = sum;
            }
        }
    }

    // Crossings so near to a candidate that only its own rounding tells on which side they are.
    Floats settle(Mask close, int i, Floats border, Floats candidate, Floats at) {
        for (uint32_t lanes = lanes_of(close); lanes; lanes &= lanes - 1) {
            const int lane = __builtin_ctz(lanes), c = static_cast<int>(candidate[lane]), v = (i + lane) / COORDS;
            if (c < 0 || c >= CANDIDATES) continue;
            const int level = clamped(nearest_int(0.5f * (inverses[c] * block.x[i + lane] - 1.0f)), 0, Points::LEVELS - 1);
            at[lane] = candidate[lane] + (static_cast<float>(level) >= border[lane] ? -0.5f : 0.5f);
            starts[v] |= 3u << c;
            near[v] |= 1u << c;
        }
        return at;
    }

    uint32_t code_at(int v, int candidate) const {
        uint32_t crossed = 0;
        for (int k = 0; k < CROSSINGS; k += LANES) {
            crossed |= lanes_of(load(crossings[v] + k) < splat(static_cast<float>(candidate))) << k;
        }
        return first_code[v] + spread<Points>.of[crossed & 255] + spread<Points>.of[crossed >> 8];
    }

    // A run of candidates that round a vector to the same levels, the point that is best at its first one and up to
    // `last_of_low`, and the one that is best at its last. If the levels are a point, it is both.
    struct Run {
        int vector, first, last, last_of_low, place;
        uint32_t low, high;
    };

    // In stages, each a loop over runs that hardly branches.
    void choose_points() {
        Run runs[VECTORS * CANDIDATES];
        uint16_t open[VECTORS * CANDIDATES];
        int count = 0, searched = 0, unsettled = 0;
        for (int v = 0; v < VECTORS; v++) {
            constexpr uint32_t ALL = static_cast<uint32_t>((uint64_t(1) << CANDIDATES) - 1);
            uint32_t later = (starts[v] & ALL) | 1u;
            for (int first = 0, last; first < CANDIDATES; first = last + 1) {
                later &= later - 1;
                last = later ? __builtin_ctz(later) - 1 : CANDIDATES - 1;
                const uint32_t here = code_at(v, first);
                const int place = lattice.place[here];
                runs[count] = {v, first, last, last, place, here, here};
                open[searched] = static_cast<uint16_t>(count++);
                searched += place < 0;
            }
        }
        Lines lines[VECTORS];
        for (int v = 0; v < VECTORS; v++) set_lines(v, lines[v]);
        for (int i = 0; i < searched; i++) {
            Run & run = runs[open[i]];
            open[unsettled] = open[i];
            unsettled += !search(run, lines[run.vector]);
        }
        for (int i = 0; i < count; i++) {
            choose_from(runs[i].vector, runs[i].first, runs[i].low);
            choose_from(runs[i].vector, runs[i].last_of_low + 1, runs[i].high);
        }
        for (int i = 0; i < unsettled; i++) choose_between(runs[open[i]]);
    }

    // For each level of each coordinate, what it adds to a point's line s * square - product.
    struct Lines {
        ByLevel square[COORDS], product[COORDS];
    };

    void set_lines(int v, Lines & lines) const {
        for (int j = 0; j < COORDS; j++) {
            const float root = block.root[v * COORDS + j], twice = 2.0f * root * block.x[v * COORDS + j];
            for (int p = 0; p < PARTS; p++) {
                lines.square[j].part[p] = root * (levels.part[p] * levels.part[p]);
                lines.product[j].part[p] = twice * levels.part[p];
            }
        }
    }

    // The lines of a list of points.
    static constexpr int MOST = 64, PARTS_OF_MOST = MOST / LANES;
    struct Bundle {
        Floats square[PARTS_OF_MOST], product[PARTS_OF_MOST];
        uint64_t used;
        int count;

        __attribute__((always_inline)) Bundle(const uint16_t * points, int count, const Lines & lines)
            : used(~uint64_t(0) >> (MOST - count)), count(count) {
            for (int i = 0; i < count; i += LANES) {
                Ints codes = load_codes(points + i);
                Floats sum_square = look_up<Points>(lines.square[0], codes);
                Floats sum_product = look_up<Points>(lines.product[0], codes);
                for (int j = 1; j < COORDS; j++) {
                    codes >>= BITS;
                    sum_square += look_up<Points>(lines.square[j], codes);
                    sum_product += look_up<Points>(lines.product[j], codes);
                }
                square[i / LANES] = sum_square;
                product[i / LANES] = sum_product;
            }
        }

        // Which points come within `doubt` of the lowest at a scale.
        __attribute__((always_inline)) uint64_t lowest(float scale, float doubt) const {
            Floats best = scale * square[0] - product[0];
            for (int i = LANES; i < count; i += LANES) {
                best = smaller(scale * square[i / LANES] - product[i / LANES], best);
            }
            return within(scale, smallest_everywhere(best) + doubt);
        }

        __attribute__((always_inline)) uint64_t within(float scale, Floats bound) const {
            uint64_t found = 0;
            for (int i = 0; i < count; i += LANES) {
                found |= static_cast<uint64_t>(lanes_of(scale * square[i / LANES] - product[i / LANES] <= bound)) << i;
            }
            return found & used;
        }

        float at(float scale, int point) const {
            return scale * square[point / LANES][point % LANES] - product[point / LANES][point % LANES];
        }
    };

    static bool one(uint64_t found) { return (found & (found - 1)) == 0; }

    bool search(Run & run, const Lines & lines) const {
        const List & list = lattice.open[-1 - run.place];
        if (list.count > MOST || near[run.vector] >> run.first & 1) return false;
        const uint16_t * points = lattice.entries + list.first;
        const Bundle bundle(points, list.count, lines);
        const uint64_t low = bundle.lowest(scales[run.first], doubts[run.vector]);
        const uint64_t high = bundle.lowest(scales[run.last], doubts[run.vector]);
        run.low = points[__builtin_ctzll(low)] | NO_POINT;
        run.high = points[__builtin_ctzll(high)] | NO_POINT;
        if (!one(low) || !one(high)) return false;
        if (low == high) return true;
        return search_crossing(run, bundle, __builtin_ctzll(low), __builtin_ctzll(high));
    }

    // Where the line that is lowest at a run's last candidate comes to be so.
    bool search_crossing(Run & run, const Bundle & bundle, int low, int high) const {
        const float squares = bundle.square[low / LANES][low % LANES] - bundle.square[high / LANES][high % LANES];
        const float products = bundle.product[low / LANES][low % LANES] - bundle.product[high / LANES][high % LANES];
        const float candidate = squares / products * range * (1.0f / Rule::STEP) - MIDDLE;
        const auto least = static_cast<float>(run.first), most = static_cast<float>(run.last - 1);
        const int before = static_cast<int>(candidate < least ? least : candidate < most ? candidate : most);
        const float doubt = doubts[run.vector], scale0 = scales[before], scale1 = scales[before + 1];
        run.last_of_low = before;
        return bundle.within(scale0, splat(bundle.at(scale0, low) + doubt)) == uint64_t(1) << low &&
               bundle.within(scale1, splat(bundle.at(scale1, high) + doubt)) == uint64_t(1) << high;
    }

    // Searches all that is not settled, one by one.
    void choose_between(const Run & run) {
        for (int c = run.first; c <= run.last; c++) {
            const List & list = (near[run.vector] >> c & 1 ? lattice.all : lattice.open)[-1 - run.place];
            chosen[run.vector][c] =
                nearest_point<Points>(lattice.entries + list.first, list.count, target(run.vector), scales[c]) | NO_POINT;
        }
    }

    // For candidate `first` and all later ones; what comes behind the run is overwritten by the next.
    void choose_from(int v, int first, uint32_t code) {
        const Ints all = splat(static_cast<int32_t>(code));
        for (int p = 0; p < PARTS_OF_THEM; p++) memcpy(chosen[v] + first + p * LANES, &all, sizeof all);
    }

    // Without any assumption.
    void choose_one_by_one() {
        for (int v = 0; v < VECTORS; v++) {
            choose_from(v, 0, 0);
            for (int c = 0; c < CANDIDATES; c++) {
                const uint32_t here = round_at(v, inverses[c]) & (NEAR_BORDER - 1);
                const int place = lattice.place[here];
                chosen[v][c] = here;
                if (place >= 0) continue;
                const List & list = lattice.all[-1 - place];
                chosen[v][c] =
                    nearest_point<Points>(lattice.entries + list.first, list.count, target(v), scales[c]) | NO_POINT;
            }
        }
    }

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
        for (int v = 0; v < VECTORS; v++) code[v] = chosen[v][taken] & (NO_POINT - 1);
        if (Rule::AGAIN == Again::ALL) return;
        off = 0;
        for (int v = 0; v < VECTORS; v++) off |= (chosen[v][taken] / NO_POINT) << v;
    }

    // A level is certain if its value is so far from the border of two. Added to a code: it is not.
    static constexpr float BORDER = 0.5f - 1e-4f;
    static constexpr uint32_t NEAR_BORDER = 1u << 16;

    // Rounds to the scale that was found, and fits the scale to what that gives.
    void refine() {
        const float inverse = 1.0f / scale;
        for (int v = 0; v < VECTORS; v++) {
            if (Rule::AGAIN == Again::OFF_LATTICE && !(off >> v & 1)) continue;
            const uint32_t here = round_at(v, inverse);
            const int place = lattice.place[here & (NEAR_BORDER - 1)];
            code[v] = here & (NEAR_BORDER - 1);
            if (place >= 0) continue;
            const bool certain = tame && scale < 1e30f && !(here & NEAR_BORDER);
            const List & list = (certain ? lattice.open : lattice.all)[-1 - place];
            code[v] = nearest_point<Points>(lattice.entries + list.first, list.count, target(v), scale);
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
