// The search in a codebook: which of its codewords suit a few values, at every scale that may come.
//
// With a scale s the error of a codeword q is sum(w x^2) - 2 s c + s^2 e, where c = sum(w x q) is its correlation with the
// values and e = sum(w q^2) its energy; neither depends on the scale. Drawn as points (e, c), the codewords that are best at
// some scale are the upper corners of a convex hull, a handful of hundreds. They are found as quickhull does it: the two that
// are best at the ends of the range of scales, and between any two neighbours the one that is best where these are equal.
#pragma once

#include <cmath>

#include "encode/tile.h"
#include "formats/iq_grids.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

// A codebook as floats, sixteen codewords side by side: their first elements, then their second ones, and so on.
template <int codeword_count, int dimension_count>
struct Columns {
    static constexpr int codewords = codeword_count, dimensions = dimension_count;
    struct Element {
        float levels[kLanes], squares[kLanes];
    };
    alignas(64) Element elements[codewords / kLanes][dimensions];

    explicit Columns(const formats::Codebook<codewords, dimensions>& book) {
        for (int i = 0; i < codewords; ++i) {
            for (int d = 0; d < dimensions; ++d) {
                const float level = book.values[i][d];
                elements[i / kLanes][d].levels[i % kLanes] = level;
                elements[i / kLanes][d].squares[i % kLanes] = level * level;
            }
        }
    }
};

// Values that share a codeword of magnitudes.
template <int dimensions>
struct Part {
    float products[dimensions];  // weight * |value|
    uint32_t signs = 0;          // bit i: value i is negative
    bool odd = false;            // one sign has to be stored wrong, so that the number of minus signs is even

    void take(const float* values, const float* weights) {
        for (int i = 0; i < dimensions; ++i) {
            products[i] = weights[i] * std::min(std::fabs(values[i]), kLargestValue);
            signs |= (values[i] < 0.0f ? 1u : 0u) << i;
        }
    }

    bool has_odd_signs() const { return (__builtin_popcount(signs) & 1) != 0; }

    // The wrong sign goes where it costs this codeword least.
    uint32_t stored_signs(const int8_t (&codeword)[dimensions]) const {
        if (!odd) return signs;
        int wrong = 0;
        for (int i = 1; i < dimensions; ++i) {
            if (products[i] * codeword[i] < products[wrong] * codeword[wrong]) wrong = i;
        }
        return signs ^ 1u << wrong;
    }
};

struct Corner {
    float correlation, energy;
    int codeword;

    // By how much its error is less than that of zeros.
    float gain(float scale) const { return scale * (2.0f * correlation - scale * energy); }
};

// Neighbouring corners, from the largest energy, which is best at the smallest scales, to the smallest.
struct Hull {
    static constexpr int capacity = 32;  // no more than 20 were ever seen; what does not fit is only not considered
    int count = 0;
    Corner corners[capacity];

    void add(const Corner& corner) {
        if (count < capacity) corners[count++] = corner;
    }

    // From this scale on the corner after `index` is better.
    float end(int index) const {
        if (index + 1 >= count) return HUGE_VALF;
        const Corner &left = corners[index], &right = corners[index + 1];
        return 2.0f * (left.correlation - right.correlation) / (left.energy - right.energy);
    }

    int codeword(float scale) const {
        int best = 0;
        for (int i = 1; i < count; ++i) best = corners[i].gain(scale) > corners[best].gain(scale) ? i : best;
        return corners[best].codeword;
    }
};

// All codewords with one part.
template <int codewords>
struct Candidates {
    alignas(64) float correlations[codewords];
    alignas(64) float energies[codewords];

    Hull hull(float smallest_scale, float largest_scale) const {
        const float left_slope = 0.5f * smallest_scale, right_slope = 0.5f * largest_scale;
        const Corner left = best(left_slope), right = best(right_slope);
        Hull hull;
        hull.add(left);
        add_between(left, left_slope, right, right_slope, hull);
        if (right.energy < left.energy) hull.add(right);
        // The first codeword of magnitudes has the lowest level for all. It only suits values that are all alike, and costs no
        // search.
        const Corner lowest{correlations[0], energies[0], 0};
        if (lowest.energy < right.energy) hull.add(lowest);
        return hull;
    }

private:
    // A corner that sticks out by less than this share of the correlation is not worth looking for.
    static constexpr float kSmallestExcess = 5e-3f;

    // The first codeword of the largest correlation - slope * energy. Four quarters of the codebook are looked through side by
    // side, so that none waits for its last comparison.
    Corner best(float slope) const {
        constexpr int quarter = codewords / 4;
        alignas(64) static constexpr float first[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        const F32x16 factor = broadcast(slope), step = broadcast(static_cast<float>(kLanes));
        F32x16 index = load(first), largest[4], found[4];
        for (int k = 0; k < 4; ++k) {
            largest[k] = load(correlations + k * quarter) - factor * load(energies + k * quarter);
            found[k] = index;
        }
        for (int i = kLanes; i < quarter; i += kLanes) {
            index = index + step;
            for (int k = 0; k < 4; ++k) {
                const F32x16 value = load(correlations + k * quarter + i) - factor * load(energies + k * quarter + i);
                found[k] = select_less(largest[k], value, index, found[k]);
                largest[k] = max(largest[k], value);
            }
        }
        for (int k = 1; k < 4; ++k) {
            const F32x16 offset = broadcast(static_cast<float>(k * quarter));
            found[0] = select_less(largest[0], largest[k], found[k] + offset, found[0]);
            largest[0] = max(largest[0], largest[k]);
        }
        // The smallest index of the lanes that hold the largest value.
        const F32x16 most = broadcast(reduce_max(largest[0])), none = broadcast(static_cast<float>(1 - codewords));
        const int codeword = static_cast<int>(-reduce_max(select_less(largest[0], most, none, zero() - found[0])));
        return {correlations[codeword], energies[codeword], codeword};
    }

    // Adds the corners between two, of which each is the best at its slope.
    void add_between(const Corner& left, float left_slope, const Corner& right, float right_slope, Hull& hull) const {
        const float width = left.energy - right.energy;
        if (!(width > 0.0f)) return;
        const float slope = (left.correlation - right.correlation) / width;
        // Nothing lies above the lines of these slopes through the two. They meet so high above the edge:
        const float excess = width * (slope - left_slope) * (right_slope - slope) / (right_slope - left_slope);
        if (!(excess > kSmallestExcess * left.correlation)) return;
        const Corner middle = best(slope);
        if (!(middle.energy < left.energy && middle.energy > right.energy)) return;
        add_between(left, left_slope, middle, slope, hull);
        hull.add(middle);
        add_between(middle, slope, right, right_slope, hull);
    }
};

// The candidates of several parts at once: what is loaded of the codebook serves all of them.
template <int parts, class Book>
void correlate(const Book& columns, const Part<Book::dimensions>* part, const float* weights, Candidates<Book::codewords>* candidates) {
    for (int i = 0; i < Book::codewords / kLanes; ++i) {
        F32x16 correlation[parts], least[parts], energy[parts];
        for (int d = 0; d < Book::dimensions; ++d) {
            const F32x16 level = load(columns.elements[i][d].levels), square = load(columns.elements[i][d].squares);
            for (int k = 0; k < parts; ++k) {
                const F32x16 product = broadcast(part[k].products[d]) * level;
                const F32x16 weighted = broadcast(weights[k * Book::dimensions + d]) * square;
                correlation[k] = d == 0 ? product : correlation[k] + product;
                least[k] = d == 0 ? product : min(least[k], product);
                energy[k] = d == 0 ? weighted : energy[k] + weighted;
            }
        }
        for (int k = 0; k < parts; ++k) {
            const F32x16 wrong = broadcast(part[k].odd ? 2.0f : 0.0f) * least[k];
            store(candidates[k].correlations + kLanes * i, correlation[k] - wrong);
            store(candidates[k].energies + kLanes * i, energy[k]);
        }
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
