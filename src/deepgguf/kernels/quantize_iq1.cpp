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

// Of the score of a pair that was found beforehand; what rounding can do is less than 1e-5 of it.
constexpr float SURELY = 1.0f - 1e-4f;

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

template <int N> void sort(const float * x, const float * weight, Sorted<N> & sorted) {
    memcpy(sorted.x, x, sizeof sorted.x);
    memcpy(sorted.weight, weight, sizeof sorted.weight);
    Floats values[N / LANES];
    Ints ranks[N / LANES] = {}, numbers[N / LANES];
    int32_t number[N];
    for (int i = 0; i < N; i++) number[i] = i;
    memcpy(values, x, sizeof values);
    memcpy(numbers, number, sizeof numbers);
    for (int j = 0; j < N; j++) {
        for (int p = 0; p < N / LANES; p++) {
            ranks[p] -= (x[j] < values[p]) | ((x[j] == values[p]) & (numbers[p] > j));
        }
    }
    memcpy(sorted.rank, ranks, sizeof ranks);
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

inline bool ordinary(float value) { return value >= SMALL && value <= LARGE; }

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

    explicit PairsOfS(const Sorted<N> & sorted) {
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

    explicit PairsOfM(const Sorted<N> & sorted) {
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

// A score that some pair reaches, from a few steps of Lloyd's iteration; -FLT_MAX if it is not an ordinary number.
template <class Pairs> float sure_score(const Pairs & pairs, const float * x) {
    float sum = 0.0f, best = 0.0f;
    for (int i = 0; i < Pairs::N; i++) sum += __builtin_fabsf(x[i]);
    for (int shift = 0; shift < Pairs::SHIFTS; shift += Pairs::SHIFTS - 1) {
        float scale = 1.3f / static_cast<float>(Pairs::N) * sum;
        for (int step = 0; step < 3; step++) {
            const int first = count_below<Pairs::N>(x, scale * Pairs::BORDERS[shift][0]);
            const int second = count_below<Pairs::N>(x, scale * Pairs::BORDERS[shift][1]);
            const auto sums = pairs.sums(first, second);
            for (int s = 0; s < Pairs::SHIFTS; s++) {
                const float qx = sums.qx[s][0], q2 = sums.q2[s][0], score = qx / q2 * qx;
                if (ordinary(q2) && ordinary(score) && score > best) best = score;
            }
            scale = sums.qx[shift][0] / sums.q2[shift][0];
        }
    }
    return best > 0.0f ? best * SURELY : -FLOAT_MAX;
}

// The search over all pairs.
template <class Pairs> Split best_split(const Pairs & pairs, float bar) {
    constexpr int N = Pairs::N, SHIFTS = Pairs::SHIFTS;
    Split best = {0, 0, -1, 0.0f, -FLOAT_MAX};
    for (int first = 0; first <= N; first++) {
        for (int second = first; second <= N; second += LANES) {
            const Sums<SHIFTS> sums = pairs.sums(first, second);
            Mask better = splat(0);
            for (int s = 0; s < SHIFTS; s++) better |= sums.qx[s] * sums.qx[s] > bar * sums.q2[s];
            if (!any(better)) continue;
            for (int k = __builtin_ctz(lanes_of(better)); k < LANES && second + k <= N; k++) {
                for (int s = 0; s < SHIFTS; s++) {
                    take_if_better(best, sums.qx[s][k], sums.q2[s][k], first, second + k, s);
                }
            }
            bar = best.score > bar ? best.score : bar;
        }
    }
    return best;
}

// A sub-block as it is stored.
template <int N> struct Fitted {
    float scale;
    int shift;
    uint32_t index[N / 8];
};

// Whether each weight's level is the nearest to it, as ggml computes distances, and the farther of two levels on the same
// side is no nearer: what the lists of open points suppose.
inline bool all_nearest(const float * x, uint32_t code, const float * level, float scale) {
    bool nearest = true;
    for (int j = 0; j < 8; j++) {
        const uint32_t l = code >> 2 * j & 3u;
        const float off[3] = {__builtin_fabsf(scale * level[0] - x[j]), __builtin_fabsf(scale * level[1] - x[j]),
                              __builtin_fabsf(scale * level[2] - x[j])};
        nearest &= l == 0 ? off[0] <= off[1] && off[1] <= off[2]
                 : l == 1 ? off[1] <= off[0] && off[1] <= off[2]
                          : off[2] <= off[1] && off[1] <= off[0];
    }
    return nearest;
}

template <class Pairs> struct Fit {
    static constexpr int N = Pairs::N;
    const float *x, *weight;
    const Lattice<Iq1Points> & lattice;

    // False if no pair of borders has a sum above zero.
    bool operator()(Fitted<N> & fitted) const {
        Sorted<N> sorted;
        sort(x, weight, sorted);
        const Pairs pairs(sorted);
        const Split split = best_split(pairs, sure_score(pairs, x));
        if (split.shift < 0) return false;
        const bool mirrored = split.scale < 0.0f;
        fitted.scale = mirrored ? -split.scale : split.scale;
        fitted.shift = mirrored ? Pairs::SHIFTS - 1 - split.shift : split.shift;
        bool all_points = true;
        for (int g = 0; g < N / 8; g++) {
            uint32_t code = 0;
            for (int j = 0; j < 8; j++) {
                const int rank = sorted.rank[8 * g + j], level = (rank >= split.first) + (rank >= split.second);
                code |= static_cast<uint32_t>(mirrored ? 2 - level : level) << 2 * j;
            }
            all_points &= lattice.place[code] >= 0;
            fitted.index[g] = lattice.index(lattice.place[code] >= 0 ? code : nearest(fitted, g, code));
        }
        if (!all_points) fit_scale(fitted);
        return true;
    }

    uint32_t nearest(const Fitted<N> & fitted, int g, uint32_t code) const {
        const float * level = Pairs::levels(fitted.shift, g);
        const ByLevel levels = by_level<Iq1Points>(level);
        const bool open = all_nearest(x + 8 * g, code, level, fitted.scale) && ordinary(fitted.scale);
        const List & list = (open ? lattice.open : lattice.all)[-1 - lattice.place[code]];
        const Target target = {x + 8 * g, weight + 8 * g, &levels};
        return nearest_point<Iq1Points>(lattice.entries + list.first, list.count, target, fitted.scale);
    }

    void fit_scale(Fitted<N> & fitted) const {
        float sum_qx = 0.0f, sum_q2 = 0.0f;
        for (int i = 0; i < N; i++) {
            const float q = Pairs::levels(fitted.shift, i / 8)[lattice.code[fitted.index[i / 8]] >> 2 * (i % 8) & 3];
            sum_qx += weight[i] * q * x[i];
            sum_q2 += weight[i] * q * q;
        }
        if (sum_qx > 0.0f && sum_q2 > 0.0f) fitted.scale = sum_qx / sum_q2;
    }
};

template <int N> float largest_magnitude_of(const float * x) {
    float largest = __builtin_fabsf(x[0]);
    for (int i = 1; i < N; i++) largest = largest > __builtin_fabsf(x[i]) ? largest : __builtin_fabsf(x[i]);
    return largest;
}

// A scale in three bits.
inline uint32_t three_bit_scale(float inverse, float scale) {
    return static_cast<uint32_t>(clamped(nearest_int(0.5f * (inverse * scale - 1.0f)), 0, 7));
}

void weigh(const float * x, const float * importance, float * weight) {
    if (importance) {
        weigh_by_importance(x, importance, 2.0f * sum_of_squares(x) / static_cast<float>(SUPERBLOCK), weight);
    } else {
        for (int i = 0; i < SUPERBLOCK; i++) weight[i] = x[i] * x[i];
    }
}

// d; 32 bytes of indices; for each sub-block four times three high bits of them, three of the scale, one for the shift.
struct Iq1S {
    static constexpr int BYTES = 50, N = 32, SUBBLOCKS = SUPERBLOCK / N;

    // Where every scale is zero, the indices that were found stay, as in ggml.
    static void encode(const float * x, const float * importance, uint8_t * out) {
        const auto & lattice = Lattice<Iq1Points>::get();
        float weight[SUPERBLOCK], scale[SUBBLOCKS] = {}, largest = 0.0f;
        uint32_t words[SUBBLOCKS] = {}, shift[SUBBLOCKS] = {};
        weigh(x, importance, weight);
        memset(out, 0, BYTES);
        for (int j = 0; j < SUBBLOCKS; j++) {
            Fitted<N> fitted;
            if (largest_magnitude_of<N>(x + N * j) < 1e-12f) continue;
            if (!Fit<PairsOfS>{x + N * j, weight + N * j, lattice}(fitted)) continue;
            for (int k = 0; k < 4; k++) {
                out[2 + 4 * j + k] = static_cast<uint8_t>(fitted.index[k]);
                words[j] |= fitted.index[k] >> 8 << 3 * k;
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

    static void encode(const float * x, const float * importance, uint8_t * out) {
        const auto & lattice = Lattice<Iq1Points>::get();
        float weight[SUPERBLOCK], largest = 0.0f;
        Fitted<N> fitted[SUBBLOCKS] = {};
        weigh(x, importance, weight);
        memset(out, 0, BYTES);
        for (int j = 0; j < SUBBLOCKS; j++) {
            Fitted<N> found;
            if (largest_magnitude_of<N>(x + N * j) < 1e-7f) continue;
            if (!Fit<PairsOfM>{x + N * j, weight + N * j, lattice}(found)) continue;
            fitted[j] = found;
            out[2 * j] = static_cast<uint8_t>(found.index[0]);
            out[2 * j + 1] = static_cast<uint8_t>(found.index[1]);
            out[32 + j] = static_cast<uint8_t>(found.index[0] >> 8 | found.index[1] >> 8 << 4);
            largest = largest > found.scale ? largest : found.scale;
        }
        if (largest == 0.0f) return;
        const float d = largest / 15.0f, inverse = 1.0f / d;
        uint32_t scale[SUBBLOCKS];
        for (int j = 0; j < SUBBLOCKS; j++) {
            const auto shift = static_cast<uint32_t>(fitted[j].shift);
            scale[j] = three_bit_scale(inverse, fitted[j].scale);
            out[32 + j] = static_cast<uint8_t>(out[32 + j] | (shift & 2) << 2 | (shift & 1) << 7);
        }
        store_scales(out + 48, scale, fit_unit(x, weight, fitted, scale, d));
    }

    // d, fitted to all weights as they are now; `otherwise` if they weigh nothing.
    static float fit_unit(const float * x, const float * weight, const Fitted<N> * fitted, const uint32_t * scale,
                          float otherwise) {
        const auto & lattice = Lattice<Iq1Points>::get();
        float sum_qx = 0.0f, sum_q2 = 0.0f;
        for (int i = 0; i < SUPERBLOCK; i++) {
            const Fitted<N> & sub = fitted[i / N];
            const int half = i / 8 % 2;
            const uint32_t level = lattice.code[sub.index[half]] >> 2 * (i % 8) & 3u;
            const float q = PairsOfM::levels(sub.shift, half)[level] * static_cast<float>(2 * scale[i / N] + 1);
            sum_qx += weight[i] * q * x[i];
            sum_q2 += weight[i] * q * q;
        }
        return sum_q2 > 0.0f ? sum_qx / sum_q2 : otherwise;
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
    table.quantize[IQ1_S] = quantize_each<Iq1S>;
    table.needs_importance[IQ1_S] = true;
}
void add_IQ1_M(Table & table) { table.quantize[IQ1_M] = quantize_each<Iq1M>; }

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
