// Scales in two steps: a half for the block times a small whole number for each group of it (Q3_K, Q6_K, IQ4_XS).
//
// Groups are searched alone first. Then the block's scale is fitted to theirs and rounded, each group takes the whole number
// near its own scale that gives the least error as decoded, and the block's scale is fitted again to the quants that came
// out, for as long as that helps.
#pragma once

#include "encode/search.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

template <int groups>
struct GroupScales {
    Halves scale{zero()};
    F32x16 steps[groups]{};

    F32x16 of(int group) const { return scale.values * steps[group]; }
};

// How far to look.
struct SuperSearch {
    int refinements;  // of a group's own scale
    int neighbours;   // whole numbers tried on either side of the nearest
    int rounds;       // fits of the block's scale
};

// The group's whole number, near `guess`, of the least error; returns what it gives.
template <int n, class Levels, class Weights>
inline ScaleSums best_step(const float (*x)[kLanes], const Weights& weights, const Levels& levels, const Uniform& range, F32x16 scale,
                           F32x16 guess, int neighbours, F32x16& step) {
    ScaleSums best{};
    for (int offset = -neighbours; offset <= neighbours; ++offset) {
        const F32x16 tried = range.nearest(guess + broadcast(static_cast<float>(offset))), group_scale = scale * tried;
        const ScaleSums sums = scale_sums<n>(x, weights, group_scale, reciprocal(group_scale), levels);
        const auto take = [&](F32x16 now, F32x16 before) {
            return offset == -neighbours ? now : select_less(sums.error, best.error, now, before);
        };
        step = take(tried, step);
        best = {take(sums.error, best.error), take(sums.slope, best.slope), take(sums.curvature, best.curvature)};
    }
    return best;
}

template <int groups, int n, class Levels, class Weights, size_t count>
inline GroupScales<groups> search_super_scale(const Tile<groups * n>& tile, const Weights& weights, const Levels& levels,
                                              const float (&steps)[count], const Uniform& range, const SuperSearch& search) {
    alignas(64) float own[groups][kLanes];
    F32x16 curvature[groups];
    for (int group = 0; group < groups; ++group) {
        const ScaleFit fit = search_scale<n>(tile.values + n * group, weights.after(n * group), levels, steps, search.refinements);
        store(own[group], fit.scale);
        curvature[group] = fit.curvature;
    }
    const float super_steps[] = {range.lowest, range.lowest + 1.0f, range.lowest + 2.0f, range.highest};
    F32x16 scale = search_scale<groups>(own, LaneWeights{curvature}, range, super_steps, 2).scale;

    GroupScales<groups> best;
    F32x16 least = broadcast(3e38f);
    for (int round = 0; round < search.rounds; ++round) {
        const Halves rounded(scale);
        const F32x16 inverse = reciprocal(rounded.values);
        F32x16 tried[groups], error = zero(), slope = zero(), square = zero();
        for (int group = 0; group < groups; ++group) {
            const F32x16 guess = range.nearest(load(own[group]) * inverse);
            const ScaleSums sums = best_step<n>(tile.values + n * group, weights.after(n * group), levels, range, rounded.values,
                                                guess, search.neighbours, tried[group]);
            error = error + sums.error;
            slope = slope + tried[group] * sums.slope;
            square = square + tried[group] * tried[group] * sums.curvature;
        }
        for (int group = 0; group < groups; ++group) best.steps[group] = select_less(error, least, tried[group], best.steps[group]);
        best.scale = Halves(select_less(error, least, rounded.values, best.scale.values));
        least = min(error, least);
        scale = rounded.values + slope * reciprocal(square);
    }
    return best;
}

// Writes the quants that those scales give.
template <int groups, int n, class Levels>
inline void put_quants(const Tile<groups * n>& tile, const Levels& levels, const GroupScales<groups>& scales, Quants<groups * n>& quants) {
    for (int group = 0; group < groups; ++group) {
        const F32x16 inverse = reciprocal(scales.of(group));
        for (int i = n * group; i < n * (group + 1); ++i) quants.put(i, levels.nearest(load(tile.values[i]) * inverse));
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
