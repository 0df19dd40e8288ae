// The scales of the codebook types: a half for the block times an odd number 1, 3, ... for each group, whose parts share it.
//
// The hulls of a group's parts merge into one: what the group gains at every scale. So the block's scale can be tried often
// without going back to the codebook, and each group takes the odd number that gains most as decoded.
#pragma once

#include "encode/codebook.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

template <int parts>
struct Group {
    static constexpr int capacity = parts * Hull::capacity;
    Hull hulls[parts];
    int states = 0;  // state i, one corner of each hull, is best up to the scale ends[i]
    float ends[capacity], correlations[capacity], energies[capacity];

    void merge() {
        int position[parts] = {};
        float next[parts], correlation = 0.0f, energy = 0.0f;
        for (int part = 0; part < parts; ++part) {
            correlation += hulls[part].corners[0].correlation;
            energy += hulls[part].corners[0].energy;
            next[part] = hulls[part].end(0);
        }
        for (states = 0; states < capacity;) {
            int part = 0;
            for (int i = 1; i < parts; ++i) part = next[i] < next[part] ? i : part;
            ends[states] = next[part];
            correlations[states] = correlation;
            energies[states++] = energy;
            if (next[part] == HUGE_VALF) break;
            const Corner &from = hulls[part].corners[position[part]], &to = hulls[part].corners[position[part] + 1];
            correlation += to.correlation - from.correlation;
            energy += to.energy - from.energy;
            next[part] = hulls[part].end(++position[part]);
        }
    }

    // The scale of the least error, and what it gains.
    struct Best {
        float scale = 0.0f, gain = 0.0f;
    };
    Best best() const {
        Best best;
        for (int i = 0; i < states; ++i) {
            if (!(correlations[i] > 0.0f)) continue;
            const float scale = correlations[i] / energies[i], gain = scale * correlations[i];
            if (gain > best.gain) best = {scale, gain};
        }
        return best;
    }

    Corner at(float scale) const {
        int state = 0;
        while (scale > ends[state]) ++state;
        return {correlations[state], energies[state], 0};
    }
};

template <int groups>
struct BlockScales {
    uint16_t half = 0;
    float unit = 0.0f;         // the scale of a group with the odd number 1
    float gain = 0.0f;         // 0: nothing is better than zeros
    int numbers[groups] = {};  // as stored: 0, 1, 2, ... for 1, 3, 5, ...

    float odd(int group) const { return static_cast<float>(2 * numbers[group] + 1); }
    float of(int group) const { return unit * odd(group); }
};

// What a type makes of scales, and where to look for them.
struct ScaleRange {
    int last_number;        // as stored
    float step;             // a group's scale is the block's half * step * odd number
    float lowest, highest;  // times the typical size of a group's values

    float last_odd() const { return static_cast<float>(2 * last_number + 1); }
};

// The scales of a group with values of that size that are looked at, none above what can be stored.
struct ScaleEnds {
    float smallest, largest;

    ScaleEnds(const ScaleRange& range, float size) {
        const float limit = kLargestHalf * range.step * range.last_odd();
        smallest = std::min(limit, range.lowest * size);
        largest = std::min(limit, range.highest * size);
    }
};

template <int groups, int parts>
class ScaleSearch {
public:
    ScaleSearch(const Group<parts> (&group)[groups], const ScaleRange& range) : group_(group), range_(range) {
        for (int g = 0; g < groups; ++g) own_[g] = group_[g].best().scale;
    }

    // The group of the largest scale gets the last odd number, which is a little too small for it or fits, or one before it.
    BlockScales<groups> run() const {
        const float largest = *std::max_element(own_, own_ + groups);
        float units[kLanes];
        for (int i = 0; i < kLanes; ++i) units[i] = largest * (0.9f + 0.025f * static_cast<float>(i)) / range_.last_odd();
        BlockScales<groups> best;
        try_units(units, kLanes, best);
        for (int refinement = 0; refinement < 2; ++refinement) {
            float correlation = 0.0f, energy = 0.0f;
            for (int g = 0; g < groups; ++g) {
                const float odd = best.odd(g);
                const Corner corner = group_[g].at(best.of(g));
                correlation += odd * corner.correlation;
                energy += odd * odd * corner.energy;
            }
            units[0] = correlation / energy;
            try_units(units, 1, best);
        }
        return best;
    }

private:
    void try_units(const float (&units)[kLanes], int count, BlockScales<groups>& best) const {
        const Halves halves(max(broadcast(0x1p-24f), load(units) * broadcast(1.0f / range_.step)));
        float rounded[kLanes];
        store(rounded, halves.values * broadcast(range_.step));
        for (int i = 0; i < count; ++i) {
            BlockScales<groups> scales;
            scales.half = halves.bits[i];
            scales.unit = rounded[i];
            for (int g = 0; g < groups; ++g) scales.gain += choose_number(g, scales.unit, scales.numbers[g]);
            if (scales.gain > best.gain) best = scales;
        }
    }

    // Of the numbers on both sides of the group's own scale; returns what it gains.
    float choose_number(int g, float unit, int& number) const {
        const float position = std::max(0.0f, 0.5f * (own_[g] / unit - 1.0f));
        const int below = static_cast<int>(std::min(position, static_cast<float>(range_.last_number)));
        const int above = std::min(below + 1, range_.last_number);
        const auto gain = [&](int tried) {
            const float scale = unit * static_cast<float>(2 * tried + 1);
            return group_[g].at(scale).gain(scale);
        };
        const float gain_below = gain(below), gain_above = gain(above);
        number = gain_above > gain_below ? above : below;
        return std::max(gain_above, gain_below);
    }

    const Group<parts> (&group_)[groups];
    const ScaleRange& range_;
    float own_[groups];
};

// The mean magnitude of values, each counted by its own magnitude too: the large ones are what a scale is for.
inline float typical_size(const float* values, const float* weights, int count) {
    float sum = 0.0f, square = 0.0f;
    for (int i = 0; i < count; ++i) {
        const float magnitude = std::min(std::fabs(values[i]), kLargestValue), weighted = weights[i] * magnitude;
        sum += weighted;
        square += weighted * magnitude;
    }
    return sum > 0.0f ? square / sum : 0.0f;
}

// A block of 256 values: its parts, and what is found for them.
template <int groups, class Book>
class CodebookSearch {
public:
    static constexpr int dimensions = Book::dimensions, group_elements = 256 / groups, group_parts = group_elements / dimensions;
    Part<dimensions> parts[groups * group_parts];
    BlockScales<groups> scales;

    CodebookSearch(const float* values, const float* weights) : values_(values), weights_(weights) {
        for (int i = 0; i < groups * group_parts; ++i) parts[i].take(values + dimensions * i, weights + dimensions * i);
    }

    void run(const Book& columns, const ScaleRange& range) {
        Candidates<Book::codewords> candidates[group_parts];
        for (int g = 0; g < groups; ++g) {
            const float* weights = weights_ + g * group_elements;
            const ScaleEnds ends(range, typical_size(values_ + g * group_elements, weights, group_elements));
            correlate<group_parts>(columns, parts + g * group_parts, weights, candidates);
            for (int i = 0; i < group_parts; ++i) group_[g].hulls[i] = candidates[i].hull(ends.smallest, ends.largest);
            group_[g].merge();
        }
        scales = ScaleSearch<groups, group_parts>(group_, range).run();
    }

    int codeword(int part) const {
        const int g = part / group_parts;
        return group_[g].hulls[part % group_parts].codeword(scales.of(g));
    }

private:
    const float* values_;
    const float* weights_;
    Group<group_parts> group_[groups];
};

// Nibbles of two groups to a byte.
template <int groups>
inline void put_numbers(const BlockScales<groups>& scales, uint8_t* out) {
    for (int i = 0; i < groups / 2; ++i) out[i] = static_cast<uint8_t>(scales.numbers[2 * i] | scales.numbers[2 * i + 1] << 4);
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
