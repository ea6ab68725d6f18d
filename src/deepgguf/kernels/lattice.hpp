// Sets of points for vectors of weights, and for every vector of levels that is no point, the points near it, which the
// quantizer chooses from. A vector's code holds its levels, BITS for each, the first lowest.
//
// As iq2xs_init_impl and iq3xs_init_impl in ggml-quants.c: the points at the smallest distances, SHELLS different ones,
// by distance and then by index. The order matters, because the first of equally good points is taken.
#pragma once
#include <stddef.h>

#include "lanes.hpp"
#include "point_sets.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

// LISTED: entries of all lists with the widest lanes.
struct PointsOfEight {
    static constexpr int COORDS = 8, BITS = 2, LEVELS = 3, VECTORS = 6561;
};
struct PointsOfFour {
    static constexpr int COORDS = 4, BITS = 3, LEVELS = 8, VECTORS = 4096;
};
struct Iq2XxsPoints : PointsOfEight {
    static constexpr const uint64_t * SET = IQ2_XXS_POINTS;
    static constexpr int POINTS = 256, SHELLS = 2, LISTED = 400000;
};
struct Iq2XsPoints : PointsOfEight {
    static constexpr const uint64_t * SET = IQ2_XS_POINTS;
    static constexpr int POINTS = 512, SHELLS = 2, LISTED = 400000;
};
struct Iq2SPoints : PointsOfEight {
    static constexpr const uint64_t * SET = IQ2_S_POINTS;
    static constexpr int POINTS = 1024, SHELLS = 1, LISTED = 400000;
};
struct Iq1Points : PointsOfEight {
    static constexpr const uint64_t * SET = IQ1_POINTS;
    static constexpr int POINTS = 2048, SHELLS = 3, LISTED = 800000;
};
struct Iq3XxsPoints : PointsOfFour {
    static constexpr const uint64_t * SET = IQ3_XXS_POINTS;
    static constexpr int POINTS = 256, SHELLS = 2, LISTED = 400000;
};
struct Iq3SPoints : PointsOfFour {
    static constexpr const uint64_t * SET = IQ3_S_POINTS;
    static constexpr int POINTS = 512, SHELLS = 3, LISTED = 400000;
};

// Codes of points, `count` of them and then copies of the last up to whole vectors.
struct List {
    uint32_t first;
    uint16_t count;
};

template <class Points> struct Lattice {
    static constexpr int CODES = 1 << Points::COORDS * Points::BITS, LISTS = Points::VECTORS - Points::POINTS;

    uint16_t code[Points::POINTS];
    int16_t place[CODES];  // a point's index, or for another vector -1 less the number of its lists
    uint8_t vectors[CODES];  // of the list `open`: none for a point, 1, 2, or 3 for any more
    List all[LISTS];       // all that ggml looks at
    List open[LISTS];      // those that no other stands before
    uint16_t entries[Points::LISTED];

    // Built when first used; takes some milliseconds.
    static const Lattice & get() {
        static const Lattice lattice;
        return lattice;
    }

    // A point's index; 0 for a code that is none, which only values without any order come to.
    uint32_t index(uint32_t code) const { return static_cast<uint32_t>(place[code] < 0 ? 0 : place[code]); }

  private:
    Lattice() {
        int points = 0, lists = 0;
        uint16_t others[LISTS];
        for (int n = 0; n < Points::VECTORS; n++) {
            const uint16_t vector = code_of(n);
            if (Points::SET[n / 64] >> n % 64 & 1) {
                place[vector] = static_cast<int16_t>(points);
                vectors[vector] = 0;
                code[points++] = vector;
            } else {
                others[lists] = vector;
                place[vector] = static_cast<int16_t>(-1 - lists++);
            }
        }
        for (int p = 0; p < Points::POINTS; p++) {
            steps_up[p] = ladder(code[p]);
            for (int j = 0; j < Points::COORDS; j++) level[j][p] = level_of(code[p], j);
        }
        for (int n = 0; n < LISTS; n++) add_lists(n, others[n]);
    }

    static uint8_t level_of(uint16_t code, int coord) {
        return static_cast<uint8_t>(code >> Points::BITS * coord & ((1 << Points::BITS) - 1));
    }

    static uint16_t code_of(int number) {
        int code = 0;
        for (int j = 0; j < Points::COORDS; j++, number /= Points::LEVELS) {
            code |= number % Points::LEVELS << Points::BITS * j;
        }
        return static_cast<uint16_t>(code);
    }

    // As many ones for each coordinate as its level. The bits in which two vectors differ are the steps between them.
    static uint32_t ladder(uint16_t code) {
        uint32_t ones = 0;
        for (int j = 0; j < Points::COORDS; j++) ones |= ((1u << level_of(code, j)) - 1u) << (Points::LEVELS - 1) * j;
        return ones;
    }

    void add_lists(int number, uint16_t vector) {
        uint8_t distance[Points::POINTS] = {};
        for (int j = 0; j < Points::COORDS; j++) {
            const uint8_t here = level_of(vector, j);
            for (int p = 0; p < Points::POINTS; p++) {
                const auto off = static_cast<uint8_t>(level[j][p] - here);
                distance[p] = static_cast<uint8_t>(distance[p] + off * off);
            }
        }
        int next[256] = {}, count = 0;
        for (int p = 0; p < Points::POINTS; p++) next[distance[p]]++;
        int farthest = 0;
        for (int d = 0, shells = 0; d < 256 && shells < Points::SHELLS; d++) {
            const int here = next[d];
            next[d] = count;
            count += here;
            shells += here > 0;
            farthest = d;
        }
        uint16_t near[Points::POINTS];
        for (int p = 0; p < Points::POINTS; p++) {
            if (distance[p] <= farthest) near[next[distance[p]]++] = static_cast<uint16_t>(p);
        }
        all[number] = add(near, count);
        open[number] = add(near, keep_open(near, count, ladder(vector)));
        const int needed = (open[number].count + LANES - 1) / LANES;
        vectors[vector] = static_cast<uint8_t>(needed < 3 ? needed : 3);
    }

    // Drops the points that another one stands before: one that takes some of the same steps and no other. From values
    // that were rounded to the vector, no step makes the error smaller, so the point behind is never better; and it comes
    // later in the list. Returns how many are left.
    int keep_open(uint16_t * near, int count, uint32_t from) const {
        int kept = 0;
        for (int i = 0; i < count; i++) {
            const uint32_t steps = steps_up[near[i]] ^ from;
            bool behind = false;
            for (int k = 0; k < kept && !behind; k++) behind = ((steps_up[near[k]] ^ from) & ~steps) == 0;
            if (!behind) near[kept++] = near[i];
        }
        return kept;
    }

    List add(const uint16_t * points, int count) {
        const List list = {static_cast<uint32_t>(listed), static_cast<uint16_t>(count)};
        for (int i = 0; i < count || i % LANES; i++) entries[listed++] = code[points[i < count ? i : count - 1]];
        return list;
    }

    uint8_t level[Points::COORDS][Points::POINTS];
    uint32_t steps_up[Points::POINTS];
    int listed = 0;
};

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
