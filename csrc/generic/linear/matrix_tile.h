// The products of integer_tile.h by an instruction that multiplies two rows by two tokens, eight columns of each: for full
// tiles, on instruction sets that have it.
//
// A vector of sixteen lanes is eight rows by two tokens here, from the sums to the totals; lanes are put in order when a
// panel is done. Every lane goes through the operations of integer_tile in the same order, so results are the same to the bit.
// Half a panel at a time is multiplied: its sums, scaled sums and totals are as many as the registers hold.
#pragma once

#include "generic/linear/integer_tile.h"

namespace qwill { namespace QWILL_ISA_NS {

template <typename Format, int N>
void matrix_tile(const PanelData& panel, int64_t columns, const Tile& tile, float* out);

#if defined(__ARM_FEATURE_MATMUL_INT8)
// Adds up the products of eight rows, the panel's upper or lower half, and what is half `s` of 32 columns where there are
// halves. Two groups of four columns, each with the sixteen rows' bytes, are turned into eight columns of eight rows; an
// unfolded panel has them so already, the groups' places taken by the halves (unfolded.h).
template <typename Format, int half, int s, int P>
QWILL_INLINE inline void add_matrix_products(const uint8_t* quants, const int32_t* x_quants, I32x16 (&sum)[P]) {
    constexpr int pairs = 4 / Format::kSums, kTokens = 2 * P;
    const auto add = [&](auto g, const S8x64& w) QWILL_INLINE {
        unroll<P>([&](auto p) QWILL_INLINE { sum[p] = dot8(sum[p], w, x_quants + g / 2 * 2 * kTokens + 4 * p); });
    };
    S8x64 even;
    Format::template each_group<s * pairs, pairs>(quants, [&](auto g, const U8x64& code) QWILL_INLINE {
        if constexpr (Format::kTurned) {
            if constexpr (g % 2 == half) add(g, signed_bytes(code));
        } else if constexpr (g % 2 == 0) {
            even = as_signed(Format::operand(code));
        } else {
            add(g, eight_rows<half>(even, as_signed(Format::operand(code))));
        }
    });
}

template <typename Format, int N, int half>
QWILL_INLINE inline void half_matrix_tile(const PanelData& panel, int64_t columns, const Tile& tile, float* out) {
    constexpr int kSums = Format::kSums, P = N / 2;  // pairs of tokens
    constexpr int64_t kTogether = Format::kScaled / 32;
    const QuantizedTile<Format::kScaled> x(Format::kScaled == 32 ? tile.quantized : tile.coarse, columns, N);
    const int32_t* x_quants = x.quants;
    const int32_t* bias = kSums == 2 ? x.bias16 : x.bias32;
    const float* x_scale = x.scale;
    const float* x_sum = kSums == 2 ? x.sum16 : x.sum32;
    const bool fetching = half == 0 && panel.next != nullptr;
    const uint8_t *span = panel.data, *fetched = panel.next;
    F32x16 total[P];
    unroll<P>([&](auto p) QWILL_INLINE { total[p] = zero(); });
    for (int64_t first = 0; first < columns / 32; first += kTogether) {
        const int64_t place = first % (Format::kColumns / 32);
        if (fetching && place == 0) prefetch<Format::kBytes, 2>(fetched);
        F32x16 scaled[P];
        unroll<P>([&](auto p) QWILL_INLINE { scaled[p] = zero(); });
        for (int64_t b = place; b < place + kTogether; ++b) {
            const int64_t quants = Format::kBytes + Format::kQuantBytes * b;
            if (fetching) prefetch<Format::kQuantBytes, 2>(fetched + quants);
            unroll<kSums>([&](auto s) QWILL_INLINE {
                I32x16 sum[P];
                unroll<P>([&](auto p) QWILL_INLINE { sum[p] = Format::start(TwoBiases{bias + s * N + 2 * p}); });
                add_matrix_products<Format, half, s>(span + quants, x_quants, sum);
                const Scales scales = Format::scales(span, b, s);
                const F32x16 scale = rows_twice<half>(scales.scale);
                unroll<P>([&](auto p) QWILL_INLINE {
                    const F32x16 exact = to_f32(sum[p]);
                    if constexpr (s == 0 && kTogether == 1) scaled[p] = exact * scale;
                    else scaled[p] = fma(exact, scale, scaled[p]);
                    if constexpr (Format::kMinimum) {
                        scaled[p] = fma(rows_twice<half>(scales.minimum), broadcast_two(x_sum + s * N + 2 * p), scaled[p]);
                    }
                });
            });
            x_quants += 8 * N;
            bias += kSums * N;
            x_sum += kSums * N;
        }
        unroll<P>([&](auto p) QWILL_INLINE { total[p] = fma(scaled[p], broadcast_two(x_scale + 2 * p), total[p]); });
        x_scale += N;
        if (place + kTogether == Format::kColumns / 32) {
            span += Format::kSpanBytes;
            if (fetching) fetched += Format::kSpanBytes;
        }
    }
    unroll<P>([&](auto p) QWILL_INLINE {
        float* rows = out + kPanelRows * 2 * p + 8 * half;
        store_two(rows, rows + kPanelRows, total[p]);
    });
}

template <typename Format, int N>
void matrix_tile(const PanelData& panel, int64_t columns, const Tile& tile, float* out) {
    half_matrix_tile<Format, N, 0>(panel, columns, tile, out);
    half_matrix_tile<Format, N, 1>(panel, columns, tile, out);
}
#endif

}}  // namespace qwill::QWILL_ISA_NS
