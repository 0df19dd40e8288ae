// Sixteen rows side by side: the same columns of each, a row in every lane of a vector. Searches then never add across lanes,
// and a column's weight is the same for all of them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "formats/half.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

constexpr int64_t kLanes = 16;
// Further than any block reaches, and far enough from the end of float that sums of squares stay finite. What is smaller than
// the other counts as zero, so that the reciprocal of a span is finite too.
constexpr float kLargestValue = 1e10f, kSmallestValue = 1e-25f;
constexpr float kLargestHalf = 65504.0f;

template <int n>
struct Tile {
    alignas(64) float values[n][kLanes];
};

// `rows` <= 16 rows of `stride` floats; the other lanes are zero.
template <int n>
inline void load_tile(const float* values, int64_t rows, int64_t stride, Tile<n>& tile) {
    if (rows < kLanes) tile = {};
    for (int64_t row = 0; row < rows; ++row) {
        for (int column = 0; column < n; ++column) tile.values[column][row] = values[row * stride + column];
    }
    const F32x16 limit = broadcast(kLargestValue), smallest = broadcast(kSmallestValue);
    for (int column = 0; column < n; ++column) {
        const F32x16 value = load(tile.values[column]), held = min(limit, max(zero() - limit, value));
        store(tile.values[column], select_less(abs(value), smallest, zero(), held));
    }
}

// The whole numbers that stand for the values of each row.
template <int n>
struct Quants {
    int8_t lanes[kLanes][n];

    void put(int column, F32x16 quants) {
        int8_t bytes[kLanes];
        store_i8(bytes, round_i32(quants));
        for (int lane = 0; lane < kLanes; ++lane) lanes[lane][column] = bytes[lane];
    }
};

// Sixteen halves, the nearest ones, and what they are as floats. Never infinite.
struct Halves {
    uint16_t bits[kLanes];
    F32x16 values;

    explicit Halves(F32x16 exact) {
        const F32x16 limit = broadcast(kLargestHalf);
        store_f16(bits, min(limit, max(zero() - limit, exact)));
        values = load_f16(bits);
    }
};

// To whole numbers, ties to even, for |a| < 2^22: past 1.5 * 2^23 a float has no fraction.
QWILL_INLINE inline F32x16 round_whole(F32x16 a) {
    const F32x16 shift = broadcast(12582912.0f);
    return (a + shift) - shift;
}

// 1 / a, or 0 for 0.
inline F32x16 reciprocal(F32x16 a) { return select_less(zero(), abs(a), broadcast(1.0f) / a, zero()); }

}}}  // namespace qwill::QWILL_ISA_NS::encode
