// Products of quantized weights and quantized activations: a panel of sixteen rows by N tokens.
//
// Each 32 columns (or 16, where these have a scale) are summed exactly in integers, turned to float and scaled; columns that
// share a scale of the activations are added up and then, scaled, to the output's sum: one order of additions for every N
// and every instruction set.
#pragma once

#include <algorithm>

#include "generic/linear/activations.h"
#include "generic/linear/integer_formats.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr int64_t kLookAhead = 3072;  // bytes, at least

// Into the first cache (3) or the second (2).
template <int64_t bytes, int cache>
QWILL_INLINE inline void prefetch(const uint8_t* p) {
    unroll<static_cast<int>((bytes + 63) / 64)>([&](auto line) QWILL_INLINE { __builtin_prefetch(p + 64 * line, 0, cache); });
}

// How many sums of two products, each at most 127 times the greatest code, add up in sixteen bits; more than four gain
// nothing and cost registers.
template <typename Format>
constexpr int kFittingPairs = Format::Meaning::kUnsigned ? std::min(4, 32767 / (2 * 127 * ((1 << Format::kDigits) - 1))) : 1;

// Adds up the products of half `s` of 32 columns, or of all where there are no halves.
template <typename Format, int s, int N>
QWILL_INLINE inline void add_products(const uint8_t* quants, const int32_t* x_quants, I32x16 (&sum)[N]) {
    constexpr int pairs = 4 / Format::kSums;
#if defined(__AVX2__) && !defined(__AVX512F__)
    if constexpr (kFittingPairs<Format> > 1) {
        I16x32 part[N];
        Format::template each_group<s * pairs, pairs>(quants, [&](auto g, const U8x64& code) QWILL_INLINE {
            const U8x64 w = Format::operand(code);
            constexpr int place = (g - 2 * s * pairs) % kFittingPairs<Format>;
            unroll<N>([&](auto t) QWILL_INLINE {
                const I16x32 products = dot2x2(w, x_quants + g * N + t);
                part[t] = place == 0 ? products : part[t] + products;
                if constexpr (place == kFittingPairs<Format> - 1 || g == 2 * (s + 1) * pairs - 1) sum[t] = add_widened(sum[t], part[t]);
            });
        });
        return;
    }
#endif
    Format::template each_group<s * pairs, pairs>(quants, [&](auto g, const U8x64& code) QWILL_INLINE {
        const auto w = Format::operand(code);
        unroll<N>([&](auto t) QWILL_INLINE { sum[t] = dot4(sum[t], w, x_quants + g * N + t); });
    });
}

template <typename Format, int N>
void integer_tile(const PanelData& panel, int64_t columns, const Tile& tile, float* out) {
    constexpr int kSums = Format::kSums;  // in 32 columns: 2 when there is a scale for every 16
    constexpr int64_t kTogether = Format::kScaled / 32;  // blocks of 32 columns with one scale of the activations
    constexpr int64_t kSpansAhead = (kLookAhead + Format::kSpanBytes - 1) / Format::kSpanBytes;
    const QuantizedTile<Format::kScaled> x(Format::kScaled == 32 ? tile.quantized : tile.coarse, columns, N);
    const int32_t* x_quants = x.quants;
    const int32_t* bias = kSums == 2 ? x.bias16 : x.bias32;
    const float* x_scale = x.scale;
    const float* x_sum = kSums == 2 ? x.sum16 : x.sum32;
    // Memory is waited for unless it is asked early; the processor's own look-ahead is short of what a kernel reads, and ends
    // with a panel. Few tokens are multiplied faster than a panel arrives: what comes in a few spans is fetched. Many leave
    // the time for the whole next panel, which the second cache has room for.
    constexpr bool kWhole = N == kTileTokens;
    const bool fetching = panel.next != nullptr;
    int64_t spans = (columns + Format::kColumns - 1) / Format::kColumns;  // left of the panel
    const uint8_t *span = panel.data, *fetched = panel.next;
    F32x16 total[N];
    unroll<N>([&](auto t) QWILL_INLINE { total[t] = zero(); });
    for (int64_t first = 0; first < columns / 32; first += kTogether) {
        const int64_t place = first % (Format::kColumns / 32);  // in the span
        if (fetching && place == 0) {
            if constexpr (!kWhole) fetched = spans > kSpansAhead ? span + kSpansAhead * Format::kSpanBytes
                                           : panel.next + (kSpansAhead - spans) * Format::kSpanBytes;
            prefetch<Format::kBytes, kWhole ? 2 : 3>(fetched);
        }
        F32x16 scaled[N];
        unroll<N>([&](auto t) QWILL_INLINE { scaled[t] = zero(); });
        for (int64_t b = place; b < place + kTogether; ++b) {
            const int64_t quants = Format::kBytes + Format::kQuantBytes * b;
            if (fetching) prefetch<Format::kQuantBytes, kWhole ? 2 : 3>(fetched + quants);
            unroll<kSums>([&](auto s) QWILL_INLINE {
                I32x16 sum[N];
                unroll<N>([&](auto t) QWILL_INLINE { sum[t] = Format::start(bias + s * N + t); });
                add_products<Format, s>(span + quants, x_quants, sum);
                const Scales scales = Format::scales(span, b, s);
                unroll<N>([&](auto t) QWILL_INLINE {
                    const F32x16 exact = to_f32(sum[t]);
                    if constexpr (s == 0 && kTogether == 1) scaled[t] = exact * scales.scale;
                    else scaled[t] = fma(exact, scales.scale, scaled[t]);
                    if constexpr (Format::kMinimum) scaled[t] = fma(scales.minimum, broadcast(x_sum[s * N + t]), scaled[t]);
                });
            });
            x_quants += 8 * N;
            bias += kSums * N;
            x_sum += kSums * N;
        }
        unroll<N>([&](auto t) QWILL_INLINE { total[t] = fma(scaled[t], broadcast(x_scale[t]), total[t]); });
        x_scale += N;
        if (place + kTogether == Format::kColumns / 32) {
            --spans;
            span += Format::kSpanBytes;
            if (kWhole && fetching) fetched += Format::kSpanBytes;
        }
    }
    unroll<N>([&](auto t) QWILL_INLINE { store(out + kPanelRows * t, total[t]); });
}

}}  // namespace qwill::QWILL_ISA_NS
