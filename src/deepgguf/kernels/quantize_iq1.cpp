// IQ1_S and IQ1_M: eight weights at a time are a point of a lattice with the levels -1, 0, 1, all shifted by 1/8 up or
// down. As quantize_row_iq1_s_impl and quantize_row_iq1_m_impl in ggml-quants.c (IQ1_M: of October 2026), bit for bit.
// IQ1_S needs importance.
//
// A sub-block's weights are sorted, and all pairs of borders are tried that give the lowest of them the level -1 and the
// highest 1. Pairs are lanes. The result is the last pair in ggml's order that is better than the best before it. Only a
// pair that comes up to the best of all within rounding can be that, so pairs below what is sure to be reached are passed
// over, and the others taken in ggml's order.
#include "families.hpp"
#include "vector_fit.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {
namespace {

constexpr float UP[3] = {-0.875f, 0.125f, 1.125f}, DOWN[3] = {-1.125f, -0.125f, 0.875f};

// Of the score of a pair that was found beforehand. A pair that could be the result has no score as low as that by the sums
// of Screen, which are rounded otherwise than ggml's: by less than 1e-4, as the best pair's sum of weight * level * x is
// at least a tenth of that of weight * |x|.
constexpr float SURELY = 1.0f - 3e-4f;

// Between these no square or product here comes near the ends of the floats' range.
constexpr float SMALL = 1e-16f, LARGE = 1e15f;

// A pair of borders and how the levels are shifted: `first` weights have the lowest level, those from `second` on the
// highest. None was found if `shift` is below zero.
struct Split {
    int first, second, shift;
    float scale, score;
};

// N weights, and their places in rising order; equal ones keep theirs.
template <int N> struct Sorted {
    alignas(4 * LANES) float x[N];  // aligned because GCC 12 takes it to be
    alignas(4 * LANES) float weight[N];
    alignas(4 * LANES) int32_t rank[N];
};

// A weight's rank is how many are smaller, or equal and before it.
template <int N> void sort(const float * x, const float * weight, Sorted<N> & sorted) {
    memcpy(sorted.x, x, sizeof sorted.x);
    memcpy(sorted.weight, weight, sizeof sorted.weight);
    int32_t number[LANES];
    Ints numbers;
    for (int i = 0; i < LANES; i++) number[i] = i;
    memcpy(&numbers, number, sizeof numbers);
    for (int i = 0; i < N; i += LANES) {
        const Floats values = load(x + i);
        Ints ranks = splat(0);
        for (int j = 0; j < i; j++) ranks -= x[j] <= values;
        for (int j = 0; j < LANES; j++) ranks -= (x[i + j] < values) | ((x[i + j] == values) & (numbers > j));
        for (int j = i + LANES; j < N; j++) ranks -= x[j] < values;
        memcpy(sorted.rank + i, &ranks, sizeof ranks);
    }
}

// How many of N values are below `border`.
template <int N> DEEPGGUF_INLINE int count_below(const float * x, float border) {
    int count = 0;
    for (int i = 0; i < N; i += LANES) {
        Floats values;
        memcpy(&values, x + i, sizeof values);
        count += __builtin_popcount(lanes_of(values < splat(border)));
    }
    return count;
}

inline bool ordinary(float value) { return (value >= SMALL) & (value <= LARGE); }

// ggml's rule for a better pair. `best` is that pair's score, which rounding may set below what it was compared by.
inline bool take_if_better(Split & best, float sum_qx, float sum_q2, int first, int second, int shift) {
    if (!(sum_q2 > 0.0f && sum_qx * sum_qx > best.score * sum_q2)) return false;
    const float scale = sum_qx / sum_q2;
    best = {first, second, shift, scale, scale * sum_qx};
    return true;
}

// Sums before each place in the order: entry j is of the j lowest weights. Longer than N + 1 by a vector, which is read
// but not used.
template <int N> using Running = float[N + 1 + LANES];

template <int N> void run(const float * terms, Running<N> & sums) {
    sums[0] = 0.0f;
    for (int j = 0; j < N; j++) sums[j + 1] = sums[j] + terms[j];
    for (int j = N + 1; j < N + 1 + LANES; j++) sums[j] = 0.0f;
}

// For each shift, the sums of weight * level * x and weight * level^2 of LANES pairs of borders.
template <int SHIFTS> struct Sums {
    Floats qx[SHIFTS], q2[SHIFTS];
};

// The sums of IQ1_S: one shift, up or down, for 32 weights.
struct PairsOfS {
    static constexpr int N = 32, SHIFTS = 2;
    static constexpr float BORDERS[SHIFTS][2] = {{-0.375f, 0.625f}, {-0.625f, 0.375f}};

    Running<N> before_x, before_weight, after_x[SHIFTS], after_weight[SHIFTS];

    void set(const Sorted<N> & sorted) {
        float products[N] = {}, weights[N] = {};
        for (int i = 0; i < N; i++) {
            products[sorted.rank[i]] = sorted.weight[i] * sorted.x[i];
            weights[sorted.rank[i]] = sorted.weight[i];
        }
        run<N>(products, before_x);
        run<N>(weights, before_weight);
        for (int j = 0; j < N + 1 + LANES; j++) {
            const float rest_x = before_x[N] - before_x[j], rest_weight = before_weight[N] - before_weight[j];
            after_x[0][j] = rest_x * UP[2];
            after_x[1][j] = rest_x * DOWN[2];
            after_weight[0][j] = rest_weight * UP[2] * UP[2];
            after_weight[1][j] = rest_weight * DOWN[2] * DOWN[2];
        }
    }

    __attribute__((always_inline)) inline Sums<SHIFTS> sums(int first, int second) const {
        const Floats middle_x = (load(before_x + second) - before_x[first]) * UP[1];
        const Floats middle_weight = (load(before_weight + second) - before_weight[first]) * UP[1] * UP[1];
        const float x = before_x[first], weight = before_weight[first];
        return {{x * UP[0] + middle_x + load(after_x[0] + second), x * DOWN[0] - middle_x + load(after_x[1] + second)},
                {weight * UP[0] * UP[0] + middle_weight + load(after_weight[0] + second),
                 weight * DOWN[0] * DOWN[0] + middle_weight + load(after_weight[1] + second)}};
    }

    static const float * levels(int shift, int) { return shift ? DOWN : UP; }
};

// The sums of IQ1_M: a shift for each half of sixteen weights: both up; up and down; down and up; both down. Since levels
// are 1 apart, a half's sum over its weights and levels is that of all at the highest level, less those below each border.
struct PairsOfM {
    static constexpr int N = 16, SHIFTS = 4;
    static constexpr float BORDERS[SHIFTS][2] = {{-0.375f, 0.625f}, {-0.5f, 0.5f}, {-0.5f, 0.5f}, {-0.625f, 0.375f}};
    static constexpr float UP_LOW = UP[0] * UP[0] - UP[1] * UP[1], UP_HIGH = UP[1] * UP[1] - UP[2] * UP[2];
    static constexpr float DOWN_LOW = DOWN[0] * DOWN[0] - DOWN[1] * DOWN[1];
    static constexpr float DOWN_HIGH = DOWN[1] * DOWN[1] - DOWN[2] * DOWN[2];

    struct Half {
        Running<N> before_x, before_weight;
        float up_x, down_x, up_weight, down_weight;  // all at the highest level
    } halves[2];

    void set(const Sorted<N> & sorted) {
        for (int h = 0; h < 2; h++) {
            float products[N] = {}, weights[N] = {};
            for (int i = 8 * h; i < 8 * h + 8; i++) {
                products[sorted.rank[i]] = sorted.weight[i] * sorted.x[i];
                weights[sorted.rank[i]] = sorted.weight[i];
            }
            Half & half = halves[h];
            run<N>(products, half.before_x);
            run<N>(weights, half.before_weight);
            half.up_x = half.before_x[N] * UP[2];
            half.down_x = half.before_x[N] * DOWN[2];
            half.up_weight = half.before_weight[N] * UP[2] * UP[2];
            half.down_weight = half.before_weight[N] * DOWN[2] * DOWN[2];
        }
    }

    __attribute__((always_inline)) inline Sums<SHIFTS> sums(int first, int second) const {
        Floats up_x[2], down_x[2], up_weight[2], down_weight[2];
        for (int h = 0; h < 2; h++) {
            const Half & half = halves[h];
            const Floats below_x = half.before_x[first] + load(half.before_x + second);
            const Floats below_second = load(half.before_weight + second);
            const float below_first = half.before_weight[first];
            up_x[h] = half.up_x - below_x;
            down_x[h] = half.down_x - below_x;
            up_weight[h] = half.up_weight + below_first * UP_LOW + below_second * UP_HIGH;
            down_weight[h] = half.down_weight + below_first * DOWN_LOW + below_second * DOWN_HIGH;
        }
        return {{up_x[0] + up_x[1], up_x[0] + down_x[1], down_x[0] + up_x[1], down_x[0] + down_x[1]},
                {up_weight[0] + up_weight[1], up_weight[0] + down_weight[1], down_weight[0] + up_weight[1],
                 down_weight[0] + down_weight[1]}};
    }

    static const float * levels(int shift, int half) { return shift >> (1 - half) & 1 ? DOWN : UP; }
};

constexpr float PairsOfS::BORDERS[2][2], PairsOfM::BORDERS[4][2];

// The sums of all pairs, rounded otherwise but made of less: levels are 1 apart, so that sum_qx is `top_x` less the sums of
// weight * x before both borders, and sum_q2 the sum of a number for each border.
template <class Pairs> struct Screen {
    static constexpr int N = Pairs::N, SHIFTS = Pairs::SHIFTS;
    float top_x[SHIFTS];
    Running<N> before_x;
    float first_q2[SHIFTS][N + 1];
    Running<N> second_q2[SHIFTS];

    // 0 if it is not an ordinary number, and for what is no pair: a scale below zero leads to such.
    float score(int first, int second, int shift) const {
        const float qx = top_x[shift] - (before_x[first] + before_x[second]);
        const float q2 = first_q2[shift][first] + second_q2[shift][second];
        const float found = qx / q2 * qx;
        return (first <= second) & ordinary(q2) & ordinary(found) ? found : 0.0f;
    }

    float scale(int first, int second, int shift) const {
        const float qx = top_x[shift] - (before_x[first] + before_x[second]);
        return qx / (first_q2[shift][first] + second_q2[shift][second]);
    }
};

inline void set(Screen<PairsOfS> & screen, const PairsOfS & pairs) {
    constexpr int N = PairsOfS::N;
    memcpy(screen.before_x, pairs.before_x, sizeof screen.before_x);
    for (int s = 0; s < 2; s++) {
        const float * level = PairsOfS::levels(s, 0);
        const float low = level[0] * level[0] - level[1] * level[1], high = level[1] * level[1] - level[2] * level[2];
        screen.top_x[s] = pairs.before_x[N] * level[2];
        for (int j = 0; j <= N; j++) screen.first_q2[s][j] = pairs.before_weight[j] * low;
        for (int j = 0; j < N + 1 + LANES; j++) {
            screen.second_q2[s][j] = pairs.before_weight[N] * level[2] * level[2] + pairs.before_weight[j] * high;
        }
    }
}

inline void set(Screen<PairsOfM> & screen, const PairsOfM & pairs) {
    constexpr int N = PairsOfM::N;
    constexpr float LOW[2] = {PairsOfM::UP_LOW, PairsOfM::DOWN_LOW}, HIGH[2] = {PairsOfM::UP_HIGH, PairsOfM::DOWN_HIGH};
    const auto &a = pairs.halves[0], &b = pairs.halves[1];
    const float top_x[2][2] = {{a.up_x, a.down_x}, {b.up_x, b.down_x}};
    const float top_q2[2][2] = {{a.up_weight, a.down_weight}, {b.up_weight, b.down_weight}};
    for (int j = 0; j < N + 1 + LANES; j++) screen.before_x[j] = a.before_x[j] + b.before_x[j];
    for (int s = 0; s < 4; s++) {
        const int of_a = s >> 1, of_b = s & 1;  // 0: up, 1: down
        const float top = top_q2[0][of_a] + top_q2[1][of_b];
        screen.top_x[s] = top_x[0][of_a] + top_x[1][of_b];
        for (int j = 0; j <= N; j++) {
            screen.first_q2[s][j] = a.before_weight[j] * LOW[of_a] + b.before_weight[j] * LOW[of_b];
        }
        for (int j = 0; j < N + 1 + LANES; j++) {
            screen.second_q2[s][j] = top + (a.before_weight[j] * HIGH[of_a] + b.before_weight[j] * HIGH[of_b]);
        }
    }
}

// A score that some pair reaches, from a few steps of Lloyd's iteration; 0 if it is not an ordinary number.
template <class Pairs> float sure_score(const Screen<Pairs> & screen, const float * x) {
    constexpr int N = Pairs::N, LAST = Pairs::SHIFTS - 1;
    Floats sums = magnitude(load(x));
    for (int i = LANES; i < N; i += LANES) sums += magnitude(load(x + i));
    float lane[LANES], sum = 0.0f, best = 0.0f;
    memcpy(lane, &sums, sizeof lane);
    for (float part : lane) sum += part;
    float scale[2] = {1.3f / static_cast<float>(N) * sum, 1.3f / static_cast<float>(N) * sum};
    for (int step = 0; step < 3; step++) {
        for (int k = 0; k < 2; k++) {
            const float * borders = Pairs::BORDERS[LAST * k];
            const int first = count_below<N>(x, scale[k] * borders[0]), second = count_below<N>(x, scale[k] * borders[1]);
            for (int s = 0; s <= LAST; s++) {
                const float score = screen.score(first, second, s);
                best = score > best ? score : best;
            }
            scale[k] = screen.scale(first, second, LAST * k);
        }
    }
    return best * SURELY;
}

// For each first border, bit k says that with the second at k some shift may be the best; all that may be asked are, if
// `bar` is not above zero.
template <class Pairs> void screen_pairs(const Screen<Pairs> & screen, float bar, uint64_t * may_be) {
    constexpr int N = Pairs::N, SHIFTS = Pairs::SHIFTS;
    Running<N> barred[SHIFTS];
    for (int s = 0; s < SHIFTS; s++) {
        for (int j = 0; j < N + 1 + LANES; j++) barred[s][j] = screen.second_q2[s][j] * bar;
    }
    Floats top[SHIFTS];
    for (int s = 0; s < SHIFTS; s++) top[s] = splat(screen.top_x[s]);
    for (int first = 0; first <= N; first++) {
        Floats first_barred[SHIFTS];
        for (int s = 0; s < SHIFTS; s++) first_barred[s] = splat(screen.first_q2[s][first] * bar);
        uint64_t row = 0;
        for (int second = first; second <= N; second += LANES) {
            const Floats below = load(screen.before_x + second) + screen.before_x[first];
            Mask better = splat(0);
            for (int s = 0; s < SHIFTS; s++) {
                const Floats qx = top[s] - below;
                better |= qx * qx > first_barred[s] + load(barred[s] + second);
            }
            row |= static_cast<uint64_t>(lanes_of(better)) << second;
        }
        may_be[first] = bar > 0.0f ? row & ((uint64_t(2) << N) - 1) : ((uint64_t(2) << N) - 1) & ~uint64_t(0) << first;
    }
}

// The search over all pairs that may be the best, in ggml's order.
template <class Pairs> Split best_split(const Pairs & pairs, const uint64_t * may_be) {
    constexpr int N = Pairs::N, SHIFTS = Pairs::SHIFTS;
    Split best = {0, 0, -1, 0.0f, -FLOAT_MAX};
    for (int first = 0; first <= N; first++) {
        for (uint64_t row = may_be[first]; row; row &= row - 1) {
            const int second = __builtin_ctzll(row);
            const Sums<SHIFTS> sums = pairs.sums(first, second);
            for (int s = 0; s < SHIFTS; s++) take_if_better(best, sums.qx[s][0], sums.q2[s][0], first, second, s);
        }
    }
    return best;
}

// A sub-block as it is stored. Its shift is below zero if no pair of borders has a sum above zero.
template <int N> struct Fitted {
    float scale;
    int shift;
    uint16_t code[N / 8];
};

inline void set_levels_of(uint16_t code, const float * level, float * q) {
    for (int j = 0; j < 8; j++) q[j] = level[code >> 2 * j & 3];
}

// Sums of weight * q * x and weight * q^2, from the first to the last.
struct Products {
    float qx, q2;
};

template <int COUNT> Products sum_products(const float * x, const float * weight, const float * q) {
    float qx[COUNT], q2[COUNT];
    for (int i = 0; i < COUNT; i++) {
        qx[i] = weight[i] * q[i] * x[i];
        q2[i] = weight[i] * q[i] * q[i];
    }
    Products sums = {0.0f, 0.0f};
    for (int i = 0; i < COUNT; i++) {
        sums.qx += qx[i];
        sums.q2 += q2[i];
    }
    return sums;
}

// The search for a super-block, a step for all sub-blocks before the next: in loops over many alike the processor seldom
// guesses a branch wrong.
template <class Pairs> struct Fit {
    static constexpr int N = Pairs::N, SUBBLOCKS = SUPERBLOCK / N, VECTORS = SUPERBLOCK / 8;

    const float *x, *weight;
    const Lattice<Iq1Points> & lattice;
    Sorted<N> sorted[SUBBLOCKS];
    Fitted<N> fitted[SUBBLOCKS];

    Fit(const float * x, const float * weight) : x(x), weight(weight), lattice(Lattice<Iq1Points>::get()) {}

    void fit() {
        Split splits[SUBBLOCKS];
        split(splits);
        for (int s = 0; s < SUBBLOCKS; s++) set_levels(splits[s], s);
        bool off[VECTORS];
        choose_points(off);
        for (int s = 0; s < SUBBLOCKS; s++) {
            bool any_off = false;
            for (int v = 0; v < N / 8; v++) any_off |= off[s * (N / 8) + v];
            if (any_off && fitted[s].shift >= 0) fit_scale(s);
        }
    }

  private:
    void split(Split * splits) {
        Pairs pairs[SUBBLOCKS];
        Screen<Pairs> screens[SUBBLOCKS];
        float bars[SUBBLOCKS];
        for (int s = 0; s < SUBBLOCKS; s++) sort(x + N * s, weight + N * s, sorted[s]);
        for (int s = 0; s < SUBBLOCKS; s++) pairs[s].set(sorted[s]);
        for (int s = 0; s < SUBBLOCKS; s++) set(screens[s], pairs[s]);
        for (int s = 0; s < SUBBLOCKS; s++) bars[s] = sure_score(screens[s], x + N * s);
        for (int s = 0; s < SUBBLOCKS; s++) {
            uint64_t may_be[N + 1];
            screen_pairs(screens[s], bars[s], may_be);
            splits[s] = best_split(pairs[s], may_be);
        }
    }

    // Levels by rank; a scale below zero mirrors them.
    void set_levels(const Split & split, int s) {
        const bool mirrored = split.scale < 0.0f;
        uint64_t above_first = 0, above_second = 0;
        for (int i = 0; i < N; i += LANES) {
            Ints ranks;
            memcpy(&ranks, sorted[s].rank + i, sizeof ranks);
            above_first |= static_cast<uint64_t>(lanes_of(ranks >= split.first)) << i;
            above_second |= static_cast<uint64_t>(lanes_of(ranks >= split.second)) << i;
        }
        fitted[s].scale = mirrored ? -split.scale : split.scale;
        fitted[s].shift = mirrored && split.shift >= 0 ? Pairs::SHIFTS - 1 - split.shift : split.shift;
        for (int v = 0; v < N / 8; v++) {
            const uint16_t * bits = spread<Iq1Points>.of;
            const int code = bits[above_first >> 8 * v & 255] + bits[above_second >> 8 * v & 255];
            fitted[s].code[v] = static_cast<uint16_t>(mirrored ? 0xAAAA - code : code);
        }
    }

    // Replaces the codes that are no points, and says of each whether it was none.
    void choose_points(bool * off) {
        bool nearest[VECTORS];
        find_nearest(nearest);
        uint8_t of_size[4][VECTORS];
        int sizes[4] = {};
        for (int v = 0; v < VECTORS; v++) {
            const uint16_t code = code_of(v);
            off[v] = lattice.place[code] < 0;
            const int size = !off[v] ? 0 : nearest[v] ? lattice.vectors[code] : 3;
            of_size[size][sizes[size]++] = static_cast<uint8_t>(v);
        }
        for (int i = 0; i < sizes[1]; i++) choose<1>(of_size[1][i], true);
        for (int i = 0; i < sizes[2]; i++) choose<2>(of_size[2][i], true);
        for (int i = 0; i < sizes[3]; i++) choose<0>(of_size[3][i], nearest[of_size[3][i]]);
    }

    uint16_t & code_of(int v) { return fitted[v / (N / 8)].code[v % (N / 8)]; }

    const float * levels_of(int v) const {
        const Fitted<N> & sub = fitted[v / (N / 8)];
        return Pairs::levels(sub.shift < 0 ? 0 : sub.shift, v % (N / 8));
    }

    template <int SIZE> void choose(int v, bool open) {
        const ByLevel levels = by_level<Iq1Points>(levels_of(v));
        uint16_t & code = code_of(v);
        const List & list = (open ? lattice.open : lattice.all)[-1 - lattice.place[code]];
        const Target target = {x + 8 * v, weight + 8 * v, &levels};
        code = nearest_of<Iq1Points, SIZE>(lattice.entries + list.first, list.count, target, fitted[v / (N / 8)].scale);
    }

    // Whether the level of each of a vector's weights is the nearest to it, as ggml computes distances, and the farther of
    // two levels on the same side is no nearer: what the lists of open points suppose.
    void find_nearest(bool * nearest) {
        uint8_t bits[VECTORS] = {};
        float places[3][SUPERBLOCK];
        int32_t levels[SUPERBLOCK];
        for (int v = 0; v < VECTORS; v++) {
            const float * level = levels_of(v);
            const float scale = fitted[v / (N / 8)].scale;
            const int code = code_of(v);
            for (int l = 0; l < 3; l++) {
                for (int i = 8 * v; i < 8 * v + 8; i++) places[l][i] = scale * level[l];
            }
            for (int j = 0; j < 8; j++) levels[8 * v + j] = code >> 2 * j & 3;
        }
        for (int i = 0; i < SUPERBLOCK; i += LANES) {
            Floats off[3];
            Ints level;
            for (int l = 0; l < 3; l++) off[l] = magnitude(load(places[l] + i) - load(x + i));
            memcpy(&level, levels + i, sizeof level);
            const Mask up = (off[0] <= off[1]) & (off[1] <= off[2]), down = (off[2] <= off[1]) & (off[1] <= off[0]);
            const Mask middle = (off[1] <= off[0]) & (off[1] <= off[2]);
            const uint32_t found = lanes_of(select(level == 0, up, select(level == 1, middle, down)));
            for (int j = 0; j < LANES; j += 8) {
                bits[(i + j) / 8] = static_cast<uint8_t>(bits[(i + j) / 8] | (found >> j << i % 8));
            }
        }
        for (int v = 0; v < VECTORS; v++) nearest[v] = (bits[v] == 255) & ordinary(fitted[v / (N / 8)].scale);
    }

    void fit_scale(int s) {
        float q[N];
        for (int v = 0; v < N / 8; v++) set_levels_of(code_of(s * (N / 8) + v), levels_of(s * (N / 8) + v), q + 8 * v);
        const Products sums = sum_products<N>(x + s * N, weight + s * N, q);
        if (sums.qx > 0.0f && sums.q2 > 0.0f) fitted[s].scale = sums.qx / sums.q2;
    }
};

template <int N> float largest_magnitude_of(const float * x) {
    int32_t largest = 0;  // as whole numbers, which become vectors
    for (int i = 0; i < N; i++) {
        const auto bits = static_cast<int32_t>(bits_of(x[i]) & 0x7FFFFFFFu);
        largest = bits > largest ? bits : largest;
    }
    return float_of(static_cast<uint32_t>(largest));
}

// A scale in three bits.
inline uint32_t three_bit_scale(float inverse, float scale) {
    return static_cast<uint32_t>(clamped(nearest_int(0.5f * (inverse * scale - 1.0f)), 0, 7));
}

void weigh(const float * x, const float * importance, float squares, float * weight) {
    if (importance) {
        weigh_by_importance(x, importance, 2.0f * squares / static_cast<float>(SUPERBLOCK), weight);
    } else {
        for (int i = 0; i < SUPERBLOCK; i++) weight[i] = x[i] * x[i];
    }
}

// d; 32 bytes of indices; for each sub-block four times three high bits of them, three of the scale, one for the shift.
struct Iq1S {
    static constexpr int BYTES = 50, N = 32, SUBBLOCKS = SUPERBLOCK / N;

    // Where every scale is zero, the indices that were found stay, as in ggml.
    static void encode(const float * x, const float * importance, float squares, uint8_t * out) {
        float weight[SUPERBLOCK], scale[SUBBLOCKS] = {}, largest = 0.0f;
        uint32_t words[SUBBLOCKS] = {}, shift[SUBBLOCKS] = {};
        weigh(x, importance, squares, weight);
        Fit<PairsOfS> found(x, weight);
        found.fit();
        memset(out, 0, BYTES);
        for (int j = 0; j < SUBBLOCKS; j++) {
            const Fitted<N> & fitted = found.fitted[j];
            if (largest_magnitude_of<N>(x + N * j) < 1e-12f || fitted.shift < 0) continue;
            for (int k = 0; k < 4; k++) {
                const uint32_t index = found.lattice.index(fitted.code[k]);
                out[2 + 4 * j + k] = static_cast<uint8_t>(index);
                words[j] |= index >> 8 << 3 * k;
            }
            scale[j] = fitted.scale;
            shift[j] = static_cast<uint32_t>(fitted.shift);
            largest = largest > fitted.scale ? largest : fitted.scale;
        }
        const float d = largest / 15.0f, inverse = 1.0f / d;
        for (int j = 0; j < SUBBLOCKS; j++) {
            if (largest != 0.0f) words[j] |= (three_bit_scale(inverse, scale[j]) | shift[j] << 3) << 12;
            const auto half = static_cast<uint16_t>(words[j]);
            memcpy(out + 34 + 2 * j, &half, 2);
        }
        if (largest != 0.0f) store_half(out, d * 1.125f);
    }
};

// 32 bytes of indices; 16 of their high bits and the shifts, four bits for eight weights; 8 of scales, three bits for
// sixteen weights, with a quarter of d in the high bits of each pair of bytes.
struct Iq1M {
    static constexpr int BYTES = 56, N = 16, SUBBLOCKS = SUPERBLOCK / N;

    static void encode(const float * x, const float * importance, float squares, uint8_t * out) {
        float weight[SUPERBLOCK], largest = 0.0f;
        weigh(x, importance, squares, weight);
        Fit<PairsOfM> found(x, weight);
        found.fit();
        memset(out, 0, BYTES);
        for (int j = 0; j < SUBBLOCKS; j++) {
            Fitted<N> & fitted = found.fitted[j];
            if (largest_magnitude_of<N>(x + N * j) < 1e-7f || fitted.shift < 0) {
                fitted = {0.0f, 0, {found.lattice.code[0], found.lattice.code[0]}};
                continue;
            }
            const uint32_t index[2] = {found.lattice.index(fitted.code[0]), found.lattice.index(fitted.code[1])};
            out[2 * j] = static_cast<uint8_t>(index[0]);
            out[2 * j + 1] = static_cast<uint8_t>(index[1]);
            out[32 + j] = static_cast<uint8_t>(index[0] >> 8 | index[1] >> 8 << 4);
            largest = largest > fitted.scale ? largest : fitted.scale;
        }
        if (largest == 0.0f) return;
        const float d = largest / 15.0f, inverse = 1.0f / d;
        uint32_t scale[SUBBLOCKS];
        for (int j = 0; j < SUBBLOCKS; j++) {
            const auto shift = static_cast<uint32_t>(found.fitted[j].shift);
            scale[j] = three_bit_scale(inverse, found.fitted[j].scale);
            out[32 + j] = static_cast<uint8_t>(out[32 + j] | (shift & 2) << 2 | (shift & 1) << 7);
        }
        store_scales(out + 48, scale, fit_unit(x, weight, found.fitted, scale, d));
    }

    // d, fitted to all weights as they are now; `otherwise` if they weigh nothing.
    static float fit_unit(const float * x, const float * weight, const Fitted<N> * fitted, const uint32_t * scale,
                          float otherwise) {
        float q[SUPERBLOCK];
        for (int v = 0; v < SUPERBLOCK / 8; v++) {
            const Fitted<N> & sub = fitted[v / 2];
            set_levels_of(sub.code[v % 2], PairsOfM::levels(sub.shift, v % 2), q + 8 * v);
            for (int i = 8 * v; i < 8 * v + 8; i++) q[i] *= static_cast<float>(2 * scale[v / 2] + 1);
        }
        const Products sums = sum_products<SUPERBLOCK>(x, weight, q);
        return sums.q2 > 0.0f ? sums.qx / sums.q2 : otherwise;
    }

    static void store_scales(uint8_t * out, const uint32_t * scale, float d) {
        const uint32_t half = f32_to_f16(bits_of(d * 1.1125f));
        for (int k = 0; k < 4; k++) {
            uint32_t word = (half >> 4 * k & 0xFu) << 12;
            for (int j = 0; j < 4; j++) word |= scale[4 * k + j] << 3 * j;
            const auto bytes = static_cast<uint16_t>(word);
            memcpy(out + 2 * k, &bytes, 2);
        }
    }
};

}  // namespace

void add_IQ1_S(Table & table) {
    table.quantize[IQ1_S] = quantize_by_squares<Iq1S>;
    table.needs_importance[IQ1_S] = true;
}
void add_IQ1_M(Table & table) { table.quantize[IQ1_M] = quantize_by_squares<Iq1M>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
