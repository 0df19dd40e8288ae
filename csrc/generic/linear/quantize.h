// Activations rounded to int8.
#pragma once

#include <cstring>

#include "generic/linear/tile_sizes.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

// value = scale * quant, |quant| <= 127, with a scale for every kScaled columns. A row of an array holds the tile's tokens,
// but two rows of quants that are multiplied as a matrix hold eight int8 of one token after the other's.
template <int kScaled>
struct QuantizedTile {
    int32_t* quants;           // [columns / 4], four int8 in each
    int32_t *bias16, *bias32;  // [columns / 16], [columns / 32]: -128 * sum of the quants
    float *sum16, *sum32;      // [columns / 16], [columns / 32]: sum of the quants
    float* scale;              // [columns / kScaled]
    int64_t tokens;

    QuantizedTile(int32_t* memory, int64_t columns, int64_t tokens)
        : quants(memory), bias16(quants + columns / 4 * tokens), bias32(bias16 + columns / 16 * tokens),
          sum16(reinterpret_cast<float*>(bias32 + columns / 32 * tokens)), sum32(sum16 + columns / 16 * tokens),
          scale(sum32 + columns / 32 * tokens), tokens(tokens) {}
    // Whether they are multiplied as a matrix.
    bool paired() const { return kMatrixProducts && tokens == kTileTokens; }
    // Where a token's first four columns are, and how far behind them its group `group` of four.
    int32_t* quants_of(int64_t token) const { return quants + (paired() ? 2 * token : token); }
    int64_t offset(int64_t group) const { return paired() ? group / 2 * 2 * tokens + group % 2 : group * tokens; }
    static int64_t words(int64_t columns, int64_t tokens) { return (columns / 32 * 14 + columns / kScaled) * tokens; }
};

// Below this largest magnitude values count as zero: 127 / magnitude must stay finite.
constexpr float kSmallestMagnitude = 1e-30f;

// The scale of values up to a magnitude, and what they are multiplied by.
struct Rounding {
    float scale, inverse;

    explicit Rounding(float magnitude) : scale(magnitude / 127.0f), inverse(127.0f / magnitude) {
        if (magnitude < kSmallestMagnitude) scale = inverse = 0.0f;
    }
};

// Puts blocks [first, last) of 32 columns of row x into a tile as token t; the first begins a scale.
template <int kScaled>
inline void quantize_row(const float* x, int64_t first, int64_t last, const QuantizedTile<kScaled>& tile, int64_t t) {
    const int64_t tokens = tile.tokens;
    F32x16 inverse;
    for (int64_t block = first; block < last; ++block) {
        if (block % (kScaled / 32) == 0) {
            F32x16 largest = zero();
            unroll<kScaled / 16>([&](auto i) QWILL_INLINE { largest = max(largest, abs(load(x + 32 * block + 16 * i))); });
            const Rounding rounding(reduce_max(largest));
            inverse = broadcast(rounding.inverse);
            tile.scale[block / (kScaled / 32) * tokens + t] = rounding.scale;
        }
        int32_t sums[2];
        int8_t quants[32];
        unroll<2>([&](auto half) QWILL_INLINE {
            const I32x16 rounded = round_i32(load(x + 32 * block + 16 * half) * inverse);
            store_i8(quants + 16 * half, rounded);
            const int32_t sum = sums[half] = reduce_add(rounded);
            const int64_t at = (2 * block + half) * tokens + t;
            tile.bias16[at] = -128 * sum;
            tile.sum16[at] = static_cast<float>(sum);
        });
        int32_t* out = tile.quants_of(t) + tile.offset(8 * block);
        for (int group = 0; group < 8; ++group) std::memcpy(out + tile.offset(group), quants + 4 * group, 4);
        tile.bias32[block * tokens + t] = -128 * (sums[0] + sums[1]);
        tile.sum32[block * tokens + t] = static_cast<float>(sums[0] + sums[1]);
    }
}

// The same of four rows at once, as tokens t .. t + 3, for blocks [0, last), an even number of them, whole scales.
template <int kScaled>
inline void quantize_four(const float* const* x, int64_t last, const QuantizedTile<kScaled>& tile, int64_t t) {
    constexpr int kScales = kScaled < 64 ? 64 / kScaled : 1;  // of 64 columns
    const int64_t tokens = tile.tokens;
    // Copies rows of four tokens to the tile's.
    const auto put = [&](auto* array, int64_t row, const auto* values, int rows) QWILL_INLINE {
        for (int i = 0; i < rows; ++i) std::memcpy(array + (row + i) * tokens + t, values + 4 * i, 16);
    };
    F32x16 inverse[kScales][4] = {};  // set at the first of the blocks, which GCC 13 does not see
    for (int64_t at = 0; at < 32 * last; at += 64) {
        if (at % kScaled == 0) {
            float magnitude[kScales * 4], scales[kScales * 4], inverses[kScales * 4];
            unroll<kScales * 4>([&](auto i) QWILL_INLINE {
                const float* values = x[i % 4] + at + i / 4 * kScaled;
                F32x16 largest = zero();
                unroll<kScaled / 16>([&](auto v) QWILL_INLINE { largest = max(largest, abs(load(values + 16 * v))); });
                magnitude[i] = reduce_max(largest);
            });
            for (int i = 0; i < kScales * 4; ++i) {
                const Rounding rounding(magnitude[i]);
                inverses[i] = rounding.inverse;
                scales[i] = rounding.scale;
            }
            unroll<kScales * 4>([&](auto i) QWILL_INLINE { inverse[i / 4][i % 4] = broadcast(inverses[i]); });
            put(tile.scale, at / kScaled, scales, kScales);
        }
        F32x16 rounded[16];  // sixteen columns of the four rows, and so on
        unroll<4>([&](auto g) QWILL_INLINE {
            I32x16 quants[4];
            unroll<4>([&](auto r) QWILL_INLINE {
                quants[r] = round_i32(load(x[r] + at + 16 * g) * inverse[g * kScales / 4][r]);
                rounded[4 * g + r] = to_f32(quants[r]);
            });
            int32_t words[16];
            store_i8_words(words, quants);
            if constexpr (kMatrixProducts) {
                for (int i = 0; i < 16; ++i) tile.quants_of(t + i % 4)[tile.offset(at / 4 + 4 * g + i / 4)] = words[i];
            } else {
                put(tile.quants, at / 4 + 4 * g, words, 4);
            }
        });
        float sums[16], pairs[8];
        int32_t biases[16], pair_biases[8];
        store(sums, reduce_add16(rounded));
        for (int i = 0; i < 16; ++i) biases[i] = -128 * static_cast<int32_t>(sums[i]);
        for (int i = 0; i < 8; ++i) {
            pairs[i] = sums[i / 4 * 8 + i % 4] + sums[i / 4 * 8 + i % 4 + 4];
            pair_biases[i] = -128 * static_cast<int32_t>(pairs[i]);
        }
        put(tile.sum16, at / 16, sums, 4);
        put(tile.bias16, at / 16, biases, 4);
        put(tile.sum32, at / 32, pairs, 2);
        put(tile.bias32, at / 32, pair_biases, 2);
    }
}

// Puts the rows of a tile's tokens into it.
template <int kScaled>
inline void quantize_rows(const float* const* rows, int64_t columns, const QuantizedTile<kScaled>& tile) {
    const int64_t blocks = columns / 32, together = blocks / 2 * 2;
    int64_t t = 0;
    for (; t + 4 <= tile.tokens; t += 4) {
        quantize_four(rows + t, together, tile, t);
        for (int64_t rest = t; rest < t + 4; ++rest) quantize_row(rows[rest], together, blocks, tile, rest);
    }
    for (; t < tile.tokens; ++t) quantize_row(rows[t], 0, blocks, tile, t);
}

}}  // namespace qwill::QWILL_ISA_NS
