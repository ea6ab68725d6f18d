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

// What the encodings of the IQ2 and IQ3 types start with: a super-block's weights by importance (ggml-quants.c, where
// each of these quantizers begins), and its signs, a byte for eight.
struct Signed {
    float x[SUPERBLOCK], weight[SUPERBLOCK], root[SUPERBLOCK];
    uint8_t signs[SUPERBLOCK / 8];
};

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
// the wrong sign. (Without branches: one in two would be guessed wrong.)
static inline void make_signs_even(const float * x, Signed & block) {
    float error[SUPERBLOCK];
    for (int i = 0; i < SUPERBLOCK; i++) error[i] = block.weight[i] * x[i] * x[i];
    for (int k = 0; k < SUPERBLOCK / 8; k++) {
        float least = error[8 * k];
        uint32_t at = 0;
        for (uint32_t i = 1; i < 8; i++) {
            const bool less = error[8 * k + i] < least;
            at = less ? i : at;
            least = less ? error[8 * k + i] : least;
        }
        const uint32_t odd = __builtin_popcount(block.signs[k]) & 1u;
        float & flipped = block.x[8 * k + at];
        flipped = float_of(bits_of(flipped) ^ odd << 31);
        block.signs[k] = static_cast<uint8_t>((block.signs[k] ^ odd << at) & 127u);
    }
}

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

// The search for a super-block. The sub-blocks' searches do not depend on each other; a step is done for all of them
// before the next, because in loops over many alike the processor seldom guesses a branch wrong.
template <class Rule> struct VectorFit {
    using Points = typename Rule::Points;
    static constexpr int N = Rule::SUBBLOCK, COORDS = Points::COORDS, BITS = Points::BITS;
    static constexpr int SUBBLOCKS = SUPERBLOCK / N, VECTORS = SUPERBLOCK / COORDS, PER_SUBBLOCK = N / COORDS;
    static constexpr int TOP = 2 * Points::LEVELS - 1;  // the highest level at scale 1; the lowest is 1
    static constexpr int CANDIDATES = 2 * Rule::STEPS + 1, PARTS_OF_THEM = (CANDIDATES + LANES - 1) / LANES;
    static constexpr int ROUNDED_UP = PARTS_OF_THEM * LANES;

    // Of the borders between levels, so many at most can a value cross from the first candidate to the last: the scale
    // falls by no more than a third.
    static constexpr int CROSSED = Points::LEVELS == 3 ? 2 : 3, CROSSINGS = 16;

    // Candidate c's inverse scale is (c + MIDDLE) * STEP / range.
    static constexpr float MIDDLE = static_cast<float>(TOP) / Rule::STEP - static_cast<float>(Rule::STEPS);

    // So near to a candidate, a crossing may be on either side of it; roundings amount to 3e-5.
    static constexpr float NEAR = 1e-3f;

    // Of an error's largest possible value, three times and more what all roundings amount to.
    static constexpr float DOUBT = 5e-6f, SMALLEST_DOUBT = 1e-37f;

    const Lattice<Points> & lattice;
    const Signed & block;
    ByLevel levels;

    // What the highest level stands for in a sub-block's middle candidate; 0 for an empty sub-block.
    const float * range;
    bool tame[SUBBLOCKS];  // no value or product is near the ends of the floats' range

    float weighted[SUPERBLOCK];  // the values times what they weigh

    float scale[SUBBLOCKS];
    uint16_t code[VECTORS];
    bool off[VECTORS];  // to be searched again

    float inverses[SUBBLOCKS][ROUNDED_UP], scales[SUBBLOCKS][ROUNDED_UP];

    // Of each vector: where its values cross borders, counted in candidates; the code before all crossings; at which
    // candidates a run starts (and the end), and which are too near to a crossing; what lines must differ by.
    float crossings[VECTORS][CROSSINGS];
    uint16_t first_code[VECTORS];
    uint32_t starts[VECTORS + 1], near[VECTORS];
    float doubts[VECTORS];

    // The points that each candidate chooses, and as many more, which are written but not read.
    static constexpr int CHOICES = (CANDIDATES + 2 * LANES - 1) / (2 * LANES) * (2 * LANES);
    uint16_t chosen[VECTORS][2 * CHOICES];

    VectorFit(const Lattice<Points> & lattice, const Signed & block, const float * range)
        : lattice(lattice), block(block), range(range) {
        float odd[Points::LEVELS];
        for (int l = 0; l < Points::LEVELS; l++) odd[l] = static_cast<float>(2 * l + 1);
        levels = by_level<Points>(odd);
        for (int i = 0; i < SUPERBLOCK; i++) weighted[i] = block.weight[i] * block.x[i];
    }

    // `first` has the scales to take if no candidate is any good.
    void fit(const float * first) {
        starts[VECTORS] = END;
        for (int s = 0; s < SUBBLOCKS; s++) {
            tame[s] = is_tame(s);
            set_candidates(s);
            if (tame[s]) {
                find_crossings(s);
            } else {
                for (int v = s * PER_SUBBLOCK; v < (s + 1) * PER_SUBBLOCK; v++) starts[v] = END;
                choose_one_by_one(s);
            }
        }
        set_doubts();
        choose_points();
        for (int s = 0; s < SUBBLOCKS; s++) {
            scale[s] = 0.0f;
            for (int v = s * PER_SUBBLOCK; v < (s + 1) * PER_SUBBLOCK; v++) {
                code[v] = 0;
                off[v] = Rule::AGAIN != Again::OFF_LATTICE && range[s] != 0.0f;
            }
            if (range[s] != 0.0f) {
                scale[s] = first[s];
                take_best(s);
            }
        }
        for (int s = 0; s < SUBBLOCKS; s++) {
            if (scale[s] > 0.0f) refine(s);
        }
    }

  private:
    static constexpr uint32_t END = 1u << CANDIDATES;

    // As whole numbers, which become vectors; NaN is larger than anything.
    static float largest_magnitude_of(const float * x) {
        int32_t largest = 0;
        for (int i = 0; i < N; i++) {
            const auto bits = static_cast<int32_t>(bits_of(x[i]) & 0x7FFFFFFFu);
            largest = bits > largest ? bits : largest;
        }
        return float_of(static_cast<uint32_t>(largest));
    }

    bool is_tame(int s) const {
        const float largest = largest_magnitude_of(block.x + N * s);
        return largest_magnitude_of(block.root + N * s) <= 1e15f && largest <= 1e15f && range[s] >= 1e-30f &&
               largest <= 1e4f * range[s];
    }

    void set_candidates(int s) {
        for (int c = 0; c < ROUNDED_UP; c++) {
            const int step = (c < CANDIDATES ? c : CANDIDATES - 1) - Rule::STEPS;
            inverses[s][c] = (static_cast<float>(TOP) + static_cast<float>(step) * Rule::STEP) / range[s];
            scales[s][c] = 1.0f / inverses[s][c];
        }
    }

    Target target(int v) const { return {block.x + v * COORDS, block.root + v * COORDS, &levels}; }

    // ggml's errors have the scale as a factor, which lines have not.
    void set_doubts() {
        float most[SUPERBLOCK];
        for (int s = 0; s < SUBBLOCKS; s++) {
            const float highest = static_cast<float>(TOP) * scales[s][0];
            for (int i = s * N; i < (s + 1) * N; i++) {
                const float off_by = highest + __builtin_fabsf(block.x[i]);
                most[i] = block.root[i] * off_by * off_by;
            }
        }
        for (int v = 0; v < VECTORS; v++) {
            float sum = 0.0f;
            for (int i = v * COORDS; i < (v + 1) * COORDS; i++) sum += most[i];
            doubts[v] = (DOUBT * sum + SMALLEST_DOUBT) * inverses[v / PER_SUBBLOCK][CANDIDATES - 1];
        }
    }

    // Value x is at the border below level b where a candidate's inverse is 2b / x.
    void find_crossings(int s) {
        constexpr int TOGETHER = COORDS < LANES ? COORDS : LANES;
        const Floats never = splat(static_cast<float>(CANDIDATES) - 0.75f), always = splat(-0.75f);
        for (int v = s * PER_SUBBLOCK; v < (s + 1) * PER_SUBBLOCK; v++) {
            starts[v] = END | 1u;
            near[v] = 0;
            for (int k = CROSSED * COORDS; k < CROSSINGS; k++) crossings[v][k] = static_cast<float>(CANDIDATES);
        }
        for (int i = s * N; i < (s + 1) * N; i += LANES) {
            const Floats x = larger(load(block.x + i), splat(range[s] * 1e-3f));  // below that, no border is reached
            const Floats step = 2.0f / Rule::STEP * range[s] / x;               // from border to border
            const Floats first = Points::LEVELS == 3 ? splat(0.0f) : larger(nearest(MIDDLE / step - 0.51f), splat(0.0f));
            Ints start = splat(0);
            for (int k = 0; k < CROSSED; k++) {
                const Floats border = first + static_cast<float>(k + 1);
                Floats at = border * step - MIDDLE;
                if (Points::LEVELS > 3) at = select(border < static_cast<float>(Points::LEVELS), at, never);
                at = larger(smaller(at, never), always);
                const Floats candidate = nearest(at);
                const Mask close = magnitude(at - candidate) < NEAR;
                if (any(close)) settle(close, i, border, candidate, at);
                start |= splat(1) << __builtin_convertvector(nearest(at + 0.5f), Ints);
                float lane[LANES];
                memcpy(lane, &at, sizeof lane);
                for (int j = 0; j < LANES; j += TOGETHER) {
                    float * to = crossings[(i + j) / COORDS] + k * COORDS + (i + j) % COORDS;
                    memcpy(to, lane + j, sizeof(float) * TOGETHER);
                }
            }
            int32_t bits[LANES], level[LANES];
            memcpy(bits, &start, sizeof bits);
            for (int j = 0; j < LANES; j++) starts[(i + j) / COORDS] |= static_cast<uint32_t>(bits[j]);
            const Ints first_levels = __builtin_convertvector(first, Ints);
            memcpy(level, &first_levels, sizeof level);
            for (int j = 0; j < LANES; j += TOGETHER) {
                int sum = (i + j) % COORDS ? first_code[(i + j) / COORDS] : 0;
                for (int l = j; l < j + TOGETHER && Points::LEVELS > 3; l++) sum |= level[l] << BITS * ((i + l) % COORDS);
                first_code[(i + j) / COORDS] = static_cast<uint16_t>(sum);
            }
        }
    }

    // Crossings so near to a candidate that only its own rounding tells on which side they are.
    void settle(Mask close, int i, Floats border, Floats candidate, Floats & at) {
        for (uint32_t lanes = lanes_of(close); lanes; lanes &= lanes - 1) {
            const int lane = __builtin_ctz(lanes), c = static_cast<int>(candidate[lane]), v = (i + lane) / COORDS;
            if (c < 0 || c >= CANDIDATES) continue;
            const float place = 0.5f * (inverses[i / N][c] * block.x[i + lane] - 1.0f);
            const int level = clamped(nearest_int(place), 0, Points::LEVELS - 1);
            at[lane] = candidate[lane] + (static_cast<float>(level) >= border[lane] ? -0.5f : 0.5f);
            starts[v] |= 3u << c;
            near[v] |= 1u << c;
        }
    }

    uint16_t code_at(int v, int candidate) const {
        uint32_t crossed = 0;
        for (int k = 0; k < CROSSINGS; k += LANES) {
            crossed |= lanes_of(load(crossings[v] + k) < splat(static_cast<float>(candidate))) << k;
        }
        return static_cast<uint16_t>(first_code[v] + spread<Points>.of[crossed & 255] + spread<Points>.of[crossed >> 8]);
    }

    // A run of candidates that round a vector to the same levels, the point that is best at its first one and up to
    // `last_of_low`, and the one that is best at its last. If the levels are a point, it is both.
    struct Run {
        uint8_t vector, first, last, last_of_low;
        uint16_t low, high;
        int32_t place;
    };

    // Runs by what is to be done with them, which is the same for all of a kind: nothing; search one vector of points,
    // two, more; search for each candidate, because roundings decide.
    enum Kind { POINT, ONE, TWO, MORE, EACH, KINDS };
    struct Runs {
        Run run[VECTORS * CANDIDATES];
        uint16_t of_kind[KINDS][VECTORS * CANDIDATES];
        int count, kinds[KINDS];
    };

    void find_runs(Runs & runs) const {
        static constexpr Kind KIND[2][4] = {{POINT, ONE, TWO, MORE}, {POINT, EACH, EACH, EACH}};
        int count = 0, kinds[KINDS] = {}, total = 0;
        for (int v = 0; v < VECTORS; v++) total += __builtin_popcount(starts[v]) - 1;
        int v = 0;
        uint32_t rest = starts[0];
        while (rest == END && v < VECTORS) rest = starts[++v];
        while (count < total) {
            const int first = __builtin_ctz(rest);
            rest &= rest - 1;
            const int last = __builtin_ctz(rest) - 1;
            const uint16_t here = code_at(v, first);
            const int kind = KIND[near[v] >> first & 1][lattice.vectors[here]];
            runs.run[count] = {static_cast<uint8_t>(v), static_cast<uint8_t>(first), static_cast<uint8_t>(last),
                               static_cast<uint8_t>(last), here, here, lattice.place[here]};
            runs.of_kind[kind][kinds[kind]++] = static_cast<uint16_t>(count++);
            const uint32_t ended = rest == END ? ~0u : 0u;
            v += static_cast<int>(ended & 1u);
            rest = (starts[v] & ended) | (rest & ~ended);
            while (rest == END && count < total) rest = starts[++v];
        }
        runs.count = count;
        memcpy(runs.kinds, kinds, sizeof kinds);
    }

    // In stages, each a loop over runs that hardly branches.
    void choose_points() {
        Runs runs;
        find_runs(runs);
        Lines lines[VECTORS];
        for (int v = 0; v < VECTORS; v++) set_lines(v, lines[v]);
        search_all<1>(runs, ONE, lines);
        search_all<2>(runs, TWO, lines);
        search_all<MOST>(runs, MORE, lines);
        for (int i = 0; i < runs.count; i++) {
            const Run & run = runs.run[i];
            choose_from(run.vector, run.first, run.low);
            choose_from(run.vector, run.last_of_low + 1, run.high);
        }
        for (int i = 0; i < runs.kinds[EACH]; i++) {
            const Run & run = runs.run[runs.of_kind[EACH][i]];
            choose_between(run, lines[run.vector]);
        }
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

    // The lines of a list of up to SIZE vectors of points (as many of them, if it is small).
    static constexpr int MOST = 64 / LANES;
    template <int SIZE> struct Bundle {
        Floats square[SIZE], product[SIZE];
        uint64_t used;
        int dynamic;

        int vectors() const { return SIZE <= 2 ? SIZE : dynamic; }

        __attribute__((always_inline)) void set(const uint16_t * points, int count, const Lines & lines) {
            used = ~uint64_t(0) >> (64 - count);
            dynamic = (count + LANES - 1) / LANES;
            for (int p = 0; p < vectors(); p++) {
                Ints codes = load_codes(points + p * LANES);
                Floats sum_square = look_up<Points>(lines.square[0], codes);
                Floats sum_product = look_up<Points>(lines.product[0], codes);
                for (int j = 1; j < COORDS; j++) {
                    codes >>= BITS;
                    sum_square += look_up<Points>(lines.square[j], codes);
                    sum_product += look_up<Points>(lines.product[j], codes);
                }
                square[p] = sum_square;
                product[p] = sum_product;
            }
        }

        __attribute__((always_inline)) Floats smallest(float scale) const {
            Floats best = scale * square[0] - product[0];
            for (int p = 1; p < vectors(); p++) best = smaller(scale * square[p] - product[p], best);
            return best;
        }

        // Which points are not above a bound at a scale.
        __attribute__((always_inline)) uint64_t within(float scale, Floats bound) const {
            uint64_t found = 0;
            for (int p = 0; p < vectors(); p++) {
                found |= static_cast<uint64_t>(lanes_of(scale * square[p] - product[p] <= bound)) << p * LANES;
            }
            return found & used;
        }

        float square_of(int point) const { return reinterpret_cast<const float *>(square)[point]; }
        float product_of(int point) const { return reinterpret_cast<const float *>(product)[point]; }
        float at(float scale, int point) const { return scale * square_of(point) - product_of(point); }
    };

    static bool one(uint64_t found) { return (found & (found - 1)) == 0; }

    // A run at whose ends the best points differ, their places in the list, and the bundle.
    template <int SIZE> struct Crossing {
        Bundle<SIZE> bundle;
        uint16_t run;
        uint8_t low, high;
    };

    template <int SIZE> void search_all(Runs & runs, Kind kind, const Lines * lines) const {
        constexpr int AT_A_TIME = 64 / SIZE;
        Crossing<SIZE> crossing[AT_A_TIME + 1];
        int each = runs.kinds[EACH];
        uint16_t * const of_each = runs.of_kind[EACH];
        for (int first = 0; first < runs.kinds[kind]; first += AT_A_TIME) {
            int crossed = 0;
            for (int i = first; i < runs.kinds[kind] && i < first + AT_A_TIME; i++) {
                const uint16_t number = runs.of_kind[kind][i];
                const Found found = search(runs.run[number], lines[runs.run[number].vector], crossing[crossed]);
                crossing[crossed].run = of_each[each] = number;
                crossed += found == DIFFERENT;
                each += found == UNCERTAIN;
            }
            for (int i = 0; i < crossed; i++) {
                of_each[each] = crossing[i].run;
                each += !search_crossing(runs.run[crossing[i].run], crossing[i]);
            }
        }
        runs.kinds[EACH] = each;
    }

    // What the best points at both ends of a run are.
    enum Found { SAME, DIFFERENT, UNCERTAIN };

    template <int SIZE>
    __attribute__((always_inline)) Found search(Run & run, const Lines & lines, Crossing<SIZE> & to) const {
        const List & list = lattice.open[-1 - run.place];
        const uint16_t * points = lattice.entries + list.first;
        if (SIZE > 2 && list.count > SIZE * LANES) return UNCERTAIN;
        Bundle<SIZE> & bundle = to.bundle;
        bundle.set(points, list.count, lines);
        const float * by_candidate = scales[run.vector / PER_SUBBLOCK];
        const float scale0 = by_candidate[run.first], scale1 = by_candidate[run.last], doubt = doubts[run.vector];
        Floats smallest[2] = {bundle.smallest(scale0), bundle.smallest(scale1)};
        spread_smallest(smallest);
        const uint64_t low = bundle.within(scale0, smallest[0] + doubt), high = bundle.within(scale1, smallest[1] + doubt);
        to.low = static_cast<uint8_t>(__builtin_ctzll(low));
        to.high = static_cast<uint8_t>(__builtin_ctzll(high));
        run.low = points[__builtin_ctzll(low)];
        run.high = points[__builtin_ctzll(high)];
        return static_cast<Found>(one(low) & one(high) ? low != high : 2);
    }

    // Where the line that is lowest at a run's last candidate comes to be so; whether it is certain.
    template <int SIZE> bool search_crossing(Run & run, const Crossing<SIZE> & crossing) const {
        const Bundle<SIZE> & bundle = crossing.bundle;
        const int low = crossing.low, high = crossing.high, s = run.vector / PER_SUBBLOCK;
        const float squares = bundle.square_of(low) - bundle.square_of(high);
        const float products = bundle.product_of(low) - bundle.product_of(high);
        const float candidate = squares / products * range[s] * (1.0f / Rule::STEP) - MIDDLE;
        const auto least = static_cast<float>(run.first), most = static_cast<float>(run.last - 1);
        const float within = candidate < most ? candidate : most;
        const int before = static_cast<int>(within > least ? within : least);
        const float doubt = doubts[run.vector], scale0 = scales[s][before], scale1 = scales[s][before + 1];
        run.last_of_low = static_cast<uint8_t>(before);
        return (bundle.within(scale0, splat(bundle.at(scale0, low) + doubt)) == uint64_t(1) << low) &
               (bundle.within(scale1, splat(bundle.at(scale1, high) + doubt)) == uint64_t(1) << high);
    }

    // Searches for every candidate of a run: exactly, if one of the points behind others may be the best.
    void choose_between(const Run & run, const Lines & lines) {
        const bool exact = near[run.vector] >> run.first & 1;
        const List & list = (exact ? lattice.all : lattice.open)[-1 - run.place];
        if (exact || list.count > MOST * LANES) return choose_exactly(run, list);
        if (list.count <= LANES) return choose_by_lines<1>(run, list, lines);
        choose_by_lines<MOST>(run, list, lines);
    }

    void choose_exactly(const Run & run, const List & list) {
        for (int c = run.first; c <= run.last; c++) choose_exactly(run.vector, c, list);
    }

    void choose_exactly(int v, int c, const List & list) {
        const float at = scales[v / PER_SUBBLOCK][c];
        chosen[v][c] = nearest_point<Points>(lattice.entries + list.first, list.count, target(v), at);
    }

    template <int SIZE> void choose_by_lines(const Run & run, const List & list, const Lines & lines) {
        const int v = run.vector;
        const uint16_t * points = lattice.entries + list.first;
        Bundle<SIZE> bundle;
        bundle.set(points, list.count, lines);
        for (int c = run.first; c <= run.last; c++) {
            const float at = scales[v / PER_SUBBLOCK][c];
            const uint64_t found = bundle.within(at, smallest_everywhere(bundle.smallest(at)) + doubts[v]);
            if (one(found)) chosen[v][c] = points[__builtin_ctzll(found)];
            else choose_exactly(v, c, list);
        }
    }

    // For candidate `first` and all later ones; what comes behind the run is overwritten by the next.
    void choose_from(int v, int first, uint16_t code) {
        typedef uint16_t Choices __attribute__((vector_size(4 * LANES)));
        const Choices all = code - Choices{};
        for (int c = 0; c < CHOICES; c += 2 * LANES) memcpy(chosen[v] + first + c, &all, sizeof all);
    }

    // Without any assumption about the values.
    void choose_one_by_one(int s) {
        if (range[s] == 0.0f) return;
        for (int v = s * PER_SUBBLOCK; v < (s + 1) * PER_SUBBLOCK; v++) {
            choose_from(v, 0, 0);
            for (int c = 0; c < CANDIDATES; c++) {
                const uint16_t here = rounded(v, inverses[s][c]);
                const int place = lattice.place[here];
                chosen[v][c] = here;
                if (place >= 0) continue;
                choose_exactly(v, c, lattice.all[-1 - place]);
            }
        }
    }

    uint16_t rounded(int v, float inverse) const { return static_cast<uint16_t>(round_at(v, inverse) & (NEAR_BORDER - 1)); }

    // The sums of weight * level * x and weight * level^2 for COUNT vectors of candidates: so many stay in registers.
    template <int COUNT> void sum_up(int s, int part, Floats * to_qx, Floats * to_q2) const {
        Floats sum_qx[COUNT] = {}, sum_q2[COUNT] = {};
        for (int v = s * PER_SUBBLOCK; v < (s + 1) * PER_SUBBLOCK; v++) {
            Ints codes[COUNT];
            for (int p = 0; p < COUNT; p++) codes[p] = load_codes(chosen[v] + (part + p) * LANES);
            for (int j = 0; j < COORDS; j++) {
                const Floats w = splat(block.weight[v * COORDS + j]), wx = splat(weighted[v * COORDS + j]);
                for (int p = 0; p < COUNT; p++) {
                    const Floats q = look_up<Points>(levels, codes[p]);
                    sum_qx[p] += wx * q;
                    sum_q2[p] += w * q * q;
                    codes[p] >>= BITS;
                }
            }
        }
        memcpy(to_qx, sum_qx, sizeof sum_qx);
        memcpy(to_q2, sum_q2, sizeof sum_q2);
    }

    void take_best(int s) {
        Floats sum_qx[PARTS_OF_THEM], sum_q2[PARTS_OF_THEM];
        for (int p = 0; p + 2 <= PARTS_OF_THEM; p += 2) sum_up<2>(s, p, sum_qx + p, sum_q2 + p);
        constexpr int LAST = PARTS_OF_THEM - 1;
        if (LAST % 2 == 0) sum_up<1>(s, LAST, sum_qx + LAST, sum_q2 + LAST);
        const int taken = best_of(sum_qx, sum_q2, scale[s]);
        if (taken < 0) return;
        for (int v = s * PER_SUBBLOCK; v < (s + 1) * PER_SUBBLOCK; v++) {
            code[v] = chosen[v][taken];
            if (Rule::AGAIN == Again::ALL) continue;
            off[v] = lattice.place[tame[s] ? code_at(v, taken) : rounded(v, inverses[s][taken])] < 0;
        }
    }

    // The last candidate that is better than the best before it; sets its scale.
    static int best_of(const Floats * sum_qx, const Floats * sum_q2, float & scale) {
        float qx[ROUNDED_UP], q2[ROUNDED_UP];
        memcpy(qx, sum_qx, sizeof qx);
        memcpy(q2, sum_q2, sizeof q2);
        const int clear = clear_best_of(sum_qx, sum_q2);
        if (clear >= 0) {
            scale = qx[clear] / q2[clear];
            return clear;
        }
        float best = 0.0f;
        int taken = -1;
        for (int c = 0; c < CANDIDATES; c++) {
            if (q2[c] > 0.0f && qx[c] * qx[c] > best * q2[c]) {
                scale = qx[c] / q2[c];
                best = scale * qx[c];
                taken = c;
            }
        }
        return taken;
    }

    // The candidate that is better than all others by more than rounding; -1 if there is none.
    static int clear_best_of(const Floats * sum_qx, const Floats * sum_q2) {
        Floats score[PARTS_OF_THEM], best = splat(0.0f);
        for (int p = 0; p < PARTS_OF_THEM; p++) {
            score[p] = sum_qx[p] * sum_qx[p] / sum_q2[p];
            best = larger(score[p], best);
        }
        best = -smallest_everywhere(-best);
        uint64_t good = 0, sound = 0;
        for (int p = 0; p < PARTS_OF_THEM; p++) {
            const Floats square = sum_qx[p] * sum_qx[p];
            good |= static_cast<uint64_t>(lanes_of(score[p] >= best * (1.0f - 1e-5f))) << p * LANES;
            const Mask ordinary = (square > 1e-30f) & (square < 1e30f) & (sum_q2[p] > 1e-20f);
            sound |= static_cast<uint64_t>(lanes_of(ordinary)) << p * LANES;
        }
        good &= END - 1;
        return good != 0 && one(good) && (good & sound) && best[0] > 1e-25f ? __builtin_ctzll(good) : -1;
    }

    // A level is certain if its value is so far from the border of two. Added to a code: it is not.
    static constexpr float BORDER = 0.5f - 1e-4f;
    static constexpr uint32_t NEAR_BORDER = 1u << 16;

    // Rounds to the scale that was found, and fits the scale to what that gives.
    void refine(int s) {
        bool any_off = false;
        for (int v = s * PER_SUBBLOCK; v < (s + 1) * PER_SUBBLOCK; v++) any_off |= off[v];
        if (!any_off) return;
        uint32_t rounded_again[PER_SUBBLOCK];
        round_all(s, 1.0f / scale[s], rounded_again);
        for (int v = s * PER_SUBBLOCK; v < (s + 1) * PER_SUBBLOCK; v++) {
            if (Rule::AGAIN == Again::OFF_LATTICE && !off[v]) continue;
            const uint32_t here = rounded_again[v - s * PER_SUBBLOCK];
            const int place = lattice.place[here & (NEAR_BORDER - 1)];
            code[v] = static_cast<uint16_t>(here & (NEAR_BORDER - 1));
            if (place >= 0) continue;
            const bool certain = tame[s] && scale[s] < 1e30f && !(here & NEAR_BORDER);
            const List & list = (certain ? lattice.open : lattice.all)[-1 - place];
            const uint16_t * points = lattice.entries + list.first;
            code[v] = list.count <= LANES ? nearest_of<Points, 1>(points, list.count, target(v), scale[s])
                                          : nearest_point<Points>(points, list.count, target(v), scale[s]);
        }
        fit_scale(s);
    }

    void fit_scale(int s) {
        int32_t codes[N], shifts[N];
        float terms_qx[N], terms_q2[N], sum_qx = 0.0f, sum_q2 = 0.0f;
        for (int i = 0; i < N; i++) codes[i] = code[s * PER_SUBBLOCK + i / COORDS];
        for (int i = 0; i < N; i++) shifts[i] = BITS * (i % COORDS);
        for (int i = 0; i < N; i += LANES) {
            Ints some_codes, some_shifts;
            memcpy(&some_codes, codes + i, sizeof some_codes);
            memcpy(&some_shifts, shifts + i, sizeof some_shifts);
            const Floats q = look_up<Points>(levels, some_codes >> some_shifts);
            const Floats qx = load(weighted + s * N + i) * q, q2 = load(block.weight + s * N + i) * q * q;
            memcpy(terms_qx + i, &qx, sizeof qx);
            memcpy(terms_q2 + i, &q2, sizeof q2);
        }
        for (int i = 0; i < N; i++) {
            sum_qx += terms_qx[i];
            sum_q2 += terms_q2[i];
        }
        if (sum_q2 > 0.0f) scale[s] = sum_qx / sum_q2;
    }

    // What round_at gives, for all vectors of a sub-block at once.
    void round_all(int s, float inverse, uint32_t * codes) const {
        if (!tame[s] || !(inverse * largest_magnitude_of(block.x + N * s) <= 1e5f)) {
            for (int v = 0; v < PER_SUBBLOCK; v++) codes[v] = round_at(s * PER_SUBBLOCK + v, inverse);
            return;
        }
        constexpr uint32_t VECTOR = (1u << COORDS) - 1u;
        uint32_t bits[BITS] = {}, close = 0;  // of every level, by weight
        for (int i = 0; i < N; i += LANES) {
            const Floats place = 0.5f * (inverse * load(block.x + s * N + i) - 1.0f);
            const Floats within = smaller(larger(place, splat(0.0f)), splat(static_cast<float>(Points::LEVELS - 1)));
            const Floats nearest_level = nearest(within);
            const Ints level = __builtin_convertvector(nearest_level, Ints);
            for (int b = 0; b < BITS; b++) bits[b] |= lanes_of((level << (31 - b)) < 0) << i;
            close |= lanes_of(magnitude(within - nearest_level) > BORDER) << i;
        }
        for (int v = 0; v < PER_SUBBLOCK; v++) {
            codes[v] = close >> v * COORDS & VECTOR ? NEAR_BORDER : 0;
            for (int b = 0; b < BITS; b++) {
                codes[v] |= static_cast<uint32_t>(spread<Points>.of[bits[b] >> v * COORDS & VECTOR]) << b;
            }
        }
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
};

template <int N> static inline float largest_of(const float * x) {
    float largest = x[0];
    for (int i = 1; i < N; i++) largest = largest > x[i] ? largest : x[i];
    return largest;
}

// A sub-block's scale in four bits, by what one of them is worth.
inline uint32_t four_bit_scale(float inverse, float scale) {
    return static_cast<uint32_t>(clamped(nearest_int(0.5f * (inverse * scale - 1.0f)), 0, 15));
}

// A super-block's sub-blocks as they are stored: their scales, 0 for an empty one, and the index of every vector's point.
template <class Rule> struct Stored {
    static constexpr int SUBBLOCKS = SUPERBLOCK / Rule::SUBBLOCK, VECTORS = SUPERBLOCK / Rule::Points::COORDS;
    float scale[SUBBLOCKS];
    uint32_t index[VECTORS];
};

// Fits a super-block; `range` and `first` as for VectorFit. A scale below zero is made positive, and the signs of its
// weights are exchanged for it. Returns the largest scale.
template <class Rule>
static inline float fit_superblock(Signed & block, const float * range, const float * first, Stored<Rule> & stored) {
    constexpr int SIGNS = Rule::SUBBLOCK / 8;
    const auto & lattice = Lattice<typename Rule::Points>::get();
    VectorFit<Rule> found(lattice, block, range);
    found.fit(first);
    float largest = 0.0f;
    for (int s = 0; s < Stored<Rule>::SUBBLOCKS; s++) {
        float scale = found.scale[s];
        if (scale < 0.0f) {
            scale = -scale;
            uint8_t * signs = block.signs + SIGNS * s;
            for (int k = 0; k < SIGNS; k++) signs[k] = static_cast<uint8_t>(~signs[k] & Rule::SIGN_BITS);
        }
        // Not a number: of values without any order. ggml ends itself there.
        stored.scale[s] = scale >= 0.0f ? scale : 0.0f;
        largest = largest > stored.scale[s] ? largest : stored.scale[s];
    }
    for (int v = 0; v < Stored<Rule>::VECTORS; v++) stored.index[v] = lattice.index(found.code[v]);
    return largest;
}

// Sums of the squares of COUNT super-blocks, each from its first weight to the last: one alone would wait for its own
// additions.
template <int COUNT> static inline void sum_squares(const float * x, float * squares) {
    float sum[COUNT] = {};
    for (int i = 0; i < SUPERBLOCK; i++) {
        for (int b = 0; b < COUNT; b++) sum[b] += x[SUPERBLOCK * b + i] * x[SUPERBLOCK * b + i];
    }
    memcpy(squares, sum, sizeof sum);
}

// One super-block after the other.
template <class Family>
static void quantize_each(const float * src, void * dst, int64_t rows, int64_t cols, const float * importance) {
    auto * out = static_cast<uint8_t *>(dst);
    for (int64_t at = 0; at < rows * cols; at += SUPERBLOCK, out += Family::BYTES) {
        Family::encode(src + at, importance ? importance + at % cols : nullptr, out);
    }
}

// The same; `encode` gets the sum of the super-block's squares too.
template <class Family>
static void quantize_by_squares(const float * src, void * dst, int64_t rows, int64_t cols, const float * importance) {
    constexpr int TOGETHER = 4;
    auto * out = static_cast<uint8_t *>(dst);
    for (int64_t left = rows * cols / SUPERBLOCK, at = 0; left > 0; left -= TOGETHER) {
        float squares[TOGETHER];
        const int used = left < TOGETHER ? static_cast<int>(left) : TOGETHER;
        if (used == TOGETHER) sum_squares<TOGETHER>(src + at, squares);
        else for (int b = 0; b < used; b++) sum_squares<1>(src + at + SUPERBLOCK * b, squares + b);
        for (int b = 0; b < used; b++, at += SUPERBLOCK, out += Family::BYTES) {
            Family::encode(src + at, importance ? importance + at % cols : nullptr, squares[b], out);
        }
    }
}

inline void store_half(uint8_t * out, float value) {
    const uint16_t half = f32_to_f16(bits_of(value));
    memcpy(out, &half, 2);
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
