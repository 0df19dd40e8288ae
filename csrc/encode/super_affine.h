// Scales and minima in two steps: a half each for the block times small whole numbers for each group of it (Q2_K, Q4_K, Q5_K).
//
// As in super_scale.h: groups alone, then the block's halves, then each group's whole numbers by the error as decoded, then
// the halves again, both at once by least squares.
#pragma once

#include "encode/search.h"
#include "encode/super_scale.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

template <int groups>
struct GroupAffines {
    Halves scale{zero()}, minimum{zero()};
    F32x16 scale_steps[groups]{}, minimum_steps[groups]{};

    F32x16 scale_of(int group) const { return scale.values * scale_steps[group]; }
    F32x16 minimum_of(int group) const { return zero() - minimum.values * minimum_steps[group]; }
};

// What a group's whole numbers are chosen from and what they give.
struct GroupChoice {
    F32x16 scale_step, minimum_step;
    AffineSums sums;

    void take_better(const GroupChoice& other) {
        const auto take = [&](F32x16 now, F32x16 before) { return select_less(other.sums.error, sums.error, now, before); };
        scale_step = take(other.scale_step, scale_step);
        minimum_step = take(other.minimum_step, minimum_step);
        sums.slope = take(other.sums.slope, sums.slope);
        sums.offset = take(other.sums.offset, sums.offset);
        sums.curvature = take(other.sums.curvature, sums.curvature);
        sums.level = take(other.sums.level, sums.level);
        sums.error = min(other.sums.error, sums.error);
    }
};

// Of the scales near `guess` and of the minima that suit each, the pair of the least error.
template <int n, class Levels>
inline GroupChoice best_steps(const float (*x)[kLanes], const float* weights, F32x16 weight, const Levels& levels, const Uniform& range,
                              F32x16 scale, F32x16 minimum, F32x16 guess, F32x16 own_minimum, int neighbours) {
    const F32x16 per_step = reciprocal(minimum);
    GroupChoice best{};
    best.sums.error = broadcast(3e38f);
    for (int offset = -neighbours; offset <= neighbours; ++offset) {
        const F32x16 scale_step = range.nearest(guess + broadcast(static_cast<float>(offset)));
        const F32x16 group_scale = scale * scale_step, inverse = reciprocal(group_scale);
        F32x16 begin = own_minimum;
        for (int fit = 0; fit < 2; ++fit) {
            const F32x16 minimum_step = range.nearest(zero() - begin * per_step);
            const F32x16 group_minimum = zero() - minimum * minimum_step;
            const GroupChoice choice{scale_step, minimum_step,
                                     affine_sums<n>(x, weights, group_scale, inverse, group_minimum, levels)};
            best.take_better(choice);
            begin = group_minimum + choice.sums.offset * reciprocal(weight);
        }
    }
    return best;
}

template <int groups, int n, class Levels, size_t count>
inline GroupAffines<groups> search_super_affine(const Tile<groups * n>& tile, const float* weights, const Levels& levels,
                                                const AffineStep (&steps)[count], const Uniform& range, const SuperSearch& search) {
    F32x16 own_scale[groups], own_minimum[groups], weight[groups], most_scale = zero(), most_minimum = zero();
    for (int group = 0; group < groups; ++group) {
        float sum = 0.0f;
        for (int i = n * group; i < n * (group + 1); ++i) sum += weights[i];
        weight[group] = broadcast(sum);
        const AffineFit fit = search_affine<n>(tile.values + n * group, weights + n * group, levels, steps, search.refinements, true);
        own_scale[group] = fit.scale;
        own_minimum[group] = fit.minimum;
        most_scale = max(most_scale, fit.scale);
        most_minimum = max(most_minimum, zero() - fit.minimum);
    }
    F32x16 scale = most_scale * broadcast(1.0f / range.highest), minimum = most_minimum * broadcast(1.0f / range.highest);

    GroupAffines<groups> best;
    F32x16 least = broadcast(3e38f);
    for (int round = 0; round < search.rounds; ++round) {
        const Halves d(scale), m(minimum);
        const F32x16 inverse = reciprocal(d.values);
        GroupChoice tried[groups];
        F32x16 error = zero(), by_scale = zero(), by_minimum = zero(), square = zero(), cross = zero(), minimum_square = zero();
        for (int group = 0; group < groups; ++group) {
            const F32x16 guess = range.nearest(own_scale[group] * inverse);
            tried[group] = best_steps<n>(tile.values + n * group, weights + n * group, weight[group], levels, range, d.values, m.values,
                                         guess, own_minimum[group], search.neighbours);
            const AffineSums& sums = tried[group].sums;
            const F32x16 a = tried[group].scale_step, b = tried[group].minimum_step;
            error = error + sums.error;
            by_scale = by_scale + a * sums.slope;
            by_minimum = by_minimum - b * sums.offset;
            square = square + a * a * sums.curvature;
            cross = cross - a * b * sums.level;
            minimum_square = minimum_square + b * b * weight[group];
        }
        for (int group = 0; group < groups; ++group) {
            best.scale_steps[group] = select_less(error, least, tried[group].scale_step, best.scale_steps[group]);
            best.minimum_steps[group] = select_less(error, least, tried[group].minimum_step, best.minimum_steps[group]);
        }
        best.scale = Halves(select_less(error, least, d.values, best.scale.values));
        best.minimum = Halves(select_less(error, least, m.values, best.minimum.values));
        least = min(error, least);
        // The normal equations of both halves; with one of them useless, of the scale alone.
        const F32x16 determinant = square * minimum_square - cross * cross;
        const F32x16 over = select_less(broadcast(1e-5f) * square * minimum_square, determinant, reciprocal(determinant), zero());
        const F32x16 alone = by_scale * reciprocal(square);
        scale = d.values + select_less(zero(), over, (by_scale * minimum_square - by_minimum * cross) * over, alone);
        minimum = max(zero(), m.values + (by_minimum * square - by_scale * cross) * over);
    }
    return best;
}

// Writes the quants that those scales and minima give.
template <int groups, int n, class Levels>
inline void put_quants(const Tile<groups * n>& tile, const Levels& levels, const GroupAffines<groups>& affines,
                       Quants<groups * n>& quants) {
    for (int group = 0; group < groups; ++group) {
        const F32x16 inverse = reciprocal(affines.scale_of(group)), minimum = affines.minimum_of(group);
        for (int i = n * group; i < n * (group + 1); ++i) {
            quants.put(i, levels.nearest((load(tile.values[i]) - minimum) * inverse));
        }
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
