// The searches that encoders share: which scale (and minimum) lets whole quants come nearest to a group of values.
//
// Every candidate is tried in one pass: the values are divided by the scale and rounded to the nearest level, then sums tell
// the error and, by least squares, the scale (and minimum) that suits these quants best. Refining takes that as the next
// candidate. All sums are of remainders, so that nothing cancels when the quants are many.
//
// Which candidates a format tries was found by taking, of a fine grid, the one that lowers the error most beside those taken
// before, on groups from normal and heavy-tailed distributions with even and uneven weights. Where there are few levels and
// no minimum, those that clip much are left out: they lower the weighted error at the expense of the plain one. The simple
// ones, which reproduce what the format holds exactly, come first.
#pragma once

#include "encode/tile.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

// The levels lowest, lowest + 1, ..., highest.
struct Uniform {
    float lowest, highest;
    QWILL_INLINE F32x16 nearest(F32x16 a) const {
        return round_whole(min(broadcast(highest), max(broadcast(lowest), a)));
    }
};

// Weights of a group's values: those of its columns, others for each row too, or others for each lane.
struct ColumnWeights {
    const float* weights;
    QWILL_INLINE F32x16 operator[](int i) const { return broadcast(weights[i]); }
    ColumnWeights after(int columns) const { return {weights + columns}; }
};
struct TileWeights {
    const float (*weights)[kLanes];
    QWILL_INLINE F32x16 operator[](int i) const { return load(weights[i]); }
    TileWeights after(int columns) const { return {weights + columns}; }
};
struct LaneWeights {
    const F32x16* weights;
    QWILL_INLINE F32x16 operator[](int i) const { return weights[i]; }
};

// Values x near scale * q: with r = x - scale * q, the weighted sums of r r, r q and q q.
struct ScaleSums {
    F32x16 error, slope, curvature;

    // The scale that suits the quants best is `scale` + this.
    F32x16 correction() const { return slope * reciprocal(curvature); }
    // The error with it.
    F32x16 corrected_error() const { return error - slope * correction(); }
};

template <int n, class Levels, class Weights>
inline ScaleSums scale_sums(const float (*x)[kLanes], const Weights& weights, F32x16 scale, F32x16 inverse, const Levels& levels) {
    ScaleSums sums{zero(), zero(), zero()};
    for (int i = 0; i < n; ++i) {
        const F32x16 value = load(x[i]), quant = levels.nearest(value * inverse), weight = weights[i];
        const F32x16 rest = value - scale * quant, weighted = weight * rest;
        sums.error = sums.error + weighted * rest;
        sums.slope = sums.slope + weighted * quant;
        sums.curvature = sums.curvature + weight * quant * quant;
    }
    return sums;
}

struct ScaleFit {
    F32x16 scale, error, curvature;
};

// The value of the largest magnitude.
template <int n>
inline F32x16 largest(const float (*x)[kLanes]) {
    F32x16 value = load(x[0]);
    for (int i = 1; i < n; ++i) {
        const F32x16 other = load(x[i]);
        value = select_less(abs(value), abs(other), other, value);
    }
    return value;
}

// The best scale of those that map the largest value to one of `steps`, refined.
template <int n, class Levels, class Weights, size_t count>
inline ScaleFit search_scale(const float (*x)[kLanes], const Weights& weights, const Levels& levels, const float (&steps)[count],
                             int refinements) {
    const F32x16 top = largest<n>(x), over_top = reciprocal(top);
    ScaleFit best{};
    for (size_t i = 0; i < count + static_cast<size_t>(refinements); ++i) {
        const F32x16 scale = i < count ? top * broadcast(1.0f / steps[i]) : best.scale;
        const F32x16 inverse = i < count ? over_top * broadcast(steps[i]) : reciprocal(best.scale);
        const ScaleSums sums = scale_sums<n>(x, weights, scale, inverse, levels);
        const F32x16 error = sums.corrected_error(), better = scale + sums.correction();
        if (i == 0) {
            best = {better, error, sums.curvature};
            continue;
        }
        best.scale = select_less(error, best.error, better, best.scale);
        best.curvature = select_less(error, best.error, sums.curvature, best.curvature);
        best.error = min(error, best.error);
    }
    return best;
}

// Values x near minimum + scale * q: with r the remainder, the weighted sums of r r, r q, r, q q and q.
struct AffineSums {
    F32x16 error, slope, offset, curvature, level;
};

template <int n, class Levels>
inline AffineSums affine_sums(const float (*x)[kLanes], const float* weights, F32x16 scale, F32x16 inverse, F32x16 minimum,
                              const Levels& levels) {
    AffineSums sums{zero(), zero(), zero(), zero(), zero()};
    for (int i = 0; i < n; ++i) {
        const F32x16 value = load(x[i]) - minimum, quant = levels.nearest(value * inverse), weight = broadcast(weights[i]);
        const F32x16 rest = value - scale * quant, weighted = weight * rest, weighted_quant = weight * quant;
        sums.error = sums.error + weighted * rest;
        sums.slope = sums.slope + weighted * quant;
        sums.offset = sums.offset + weighted;
        sums.curvature = sums.curvature + weighted_quant * quant;
        sums.level = sums.level + weighted_quant;
    }
    return sums;
}

struct AffineFit {
    F32x16 scale, minimum, error;
};

// The scale and minimum that suit the quants of `sums` best, the minimum at most `highest`, and the error with them.
inline AffineFit best_affine(const AffineSums& sums, F32x16 weight, F32x16 scale, F32x16 minimum, F32x16 highest) {
    const F32x16 determinant = sums.curvature * weight - sums.level * sums.level;
    // All quants alike, but for rounding: only the minimum can be found.
    const F32x16 over = select_less(broadcast(1e-5f) * sums.curvature * weight, determinant, reciprocal(determinant), zero());
    F32x16 by_scale = (sums.slope * weight - sums.offset * sums.level) * over;
    F32x16 by_minimum = (sums.offset - by_scale * sums.level) * reciprocal(weight);
    const F32x16 room = highest - minimum;
    const F32x16 held = (sums.slope - room * sums.level) * reciprocal(sums.curvature);
    by_scale = select_less(room, by_minimum, held, by_scale);
    by_minimum = min(room, by_minimum);
    const F32x16 two = broadcast(2.0f);
    const F32x16 error = sums.error + by_scale * (by_scale * sums.curvature - two * sums.slope + two * by_minimum * sums.level) +
                         by_minimum * (by_minimum * weight - two * sums.offset);
    return {scale + by_scale, minimum + by_minimum, error};
}

// A candidate: the span of the values takes `span` steps, and its begin lies at quant `first`.
struct AffineStep {
    float span, first;
};

// The best scale and minimum of those that `steps` give, refined. `only_below`: minima above 0 are not to be had.
template <int n, class Levels, size_t count>
inline AffineFit search_affine(const float (*x)[kLanes], const float* weights, const Levels& levels, const AffineStep (&steps)[count],
                               int refinements, bool only_below) {
    F32x16 low = load(x[0]), high = low;
    float sum = 0.0f;
    for (int i = 0; i < n; ++i) {
        low = min(low, load(x[i]));
        high = max(high, load(x[i]));
        sum += weights[i];
    }
    if (only_below) low = min(low, zero());
    const F32x16 weight = broadcast(sum), highest = only_below ? zero() : broadcast(kLargestValue);
    const F32x16 span = high - low, over_span = reciprocal(span);
    AffineFit best{};
    for (size_t i = 0; i < count + static_cast<size_t>(refinements); ++i) {
        F32x16 scale = best.scale, minimum = best.minimum;
        if (i < count) {
            scale = span * broadcast(1.0f / steps[i].span);
            minimum = min(highest, low - scale * broadcast(steps[i].first));
        }
        const F32x16 inverse = i < count ? over_span * broadcast(steps[i].span) : reciprocal(scale);
        const AffineFit fit = best_affine(affine_sums<n>(x, weights, scale, inverse, minimum, levels), weight, scale, minimum, highest);
        if (i == 0) {
            best = fit;
            continue;
        }
        best.scale = select_less(fit.error, best.error, fit.scale, best.scale);
        best.minimum = select_less(fit.error, best.error, fit.minimum, best.minimum);
        best.error = min(fit.error, best.error);
    }
    return best;
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
