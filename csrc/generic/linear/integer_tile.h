// Products of quantized weights and quantized activations: P panels of sixteen rows by N tokens.
//
// Each 32 columns (or 16, where these have a scale) are summed exactly in integers, turned to float and scaled; columns that
// share a scale of the activations are added up and then, scaled, to the output's sum: one order of additions for every N and
// P and every instruction set.
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

// Adds up the products of half `s` of 32 columns, or of all where there are no halves. The quants lie at `quants` in a span.
template <typename Format, int s, int N, int P>
QWILL_INLINE inline void add_products(const uint8_t* const* span, int64_t quants, const int32_t* x_quants, I32x16 (&sum)[P][N]) {
    constexpr int pairs = 4 / Format::kSums;
#if defined(__AVX2__) && !defined(__AVX512F__)
    if constexpr (kFittingPairs<Format> > 1) {
        I16x32 part[P][N];
        Format::template each_group<P, s * pairs, pairs>(span, quants, [&](auto p, auto g, const U8x64& code) QWILL_INLINE {
            const U8x64 w = Format::operand(code);
            constexpr int place = (g - 2 * s * pairs) % kFittingPairs<Format>;
            unroll<N>([&](auto t) QWILL_INLINE {
                const I16x32 products = dot2x2(w, x_quants + g * N + t);
                part[p][t] = place == 0 ? products : part[p][t] + products;
                if constexpr (place == kFittingPairs<Format> - 1 || g == 2 * (s + 1) * pairs - 1) sum[p][t] = add_widened(sum[p][t], part[p][t]);
            });
        });
        return;
    }
#endif
    Format::template each_group<P, s * pairs, pairs>(span, quants, [&](auto p, auto g, const U8x64& code) QWILL_INLINE {
        const auto w = Format::operand(code);
        unroll<N>([&](auto t) QWILL_INLINE { sum[p][t] = dot4(sum[p][t], w, x_quants + g * N + t); });
    });
}

template <typename Format, int N, int P>
void integer_tile(const PanelData* panels, int64_t columns, const Tile& tile, float* out) {
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
    const bool fetching = panels[0].next != nullptr;
    int64_t spans = (columns + Format::kColumns - 1) / Format::kColumns;  // left of this panel
    const uint8_t *span[P], *fetched[P];
    F32x16 total[P][N];
    unroll<P>([&](auto p) QWILL_INLINE {
        span[p] = panels[p].data;
        fetched[p] = panels[p].next;
        unroll<N>([&](auto t) QWILL_INLINE { total[p][t] = zero(); });
    });
    for (int64_t first = 0; first < columns / 32; first += kTogether) {
        const int64_t place = first % (Format::kColumns / 32);  // in the span
        if (fetching && place == 0) {
            unroll<P>([&](auto p) QWILL_INLINE {
                if constexpr (!kWhole) fetched[p] = spans > kSpansAhead ? span[p] + kSpansAhead * Format::kSpanBytes
                                                   : panels[p].next + (kSpansAhead - spans) * Format::kSpanBytes;
                prefetch<Format::kBytes, kWhole ? 2 : 3>(fetched[p]);
            });
        }
        F32x16 scaled[P][N];
        unroll<P>([&](auto p) QWILL_INLINE { unroll<N>([&](auto t) QWILL_INLINE { scaled[p][t] = zero(); }); });
        for (int64_t b = place; b < place + kTogether; ++b) {
            const int64_t quants = Format::kBytes + Format::kQuantBytes * b;
            if (fetching) unroll<P>([&](auto p) QWILL_INLINE { prefetch<Format::kQuantBytes, kWhole ? 2 : 3>(fetched[p] + quants); });
            unroll<kSums>([&](auto s) QWILL_INLINE {
                I32x16 sum[P][N];
                unroll<N>([&](auto t) QWILL_INLINE {
                    const I32x16 start = Format::start(bias + s * N + t);
                    unroll<P>([&](auto p) QWILL_INLINE { sum[p][t] = start; });
                });
                add_products<Format, s>(span, quants, x_quants, sum);
                unroll<P>([&](auto p) QWILL_INLINE {
                    const Scales scales = Format::scales(span[p], b, s);
                    unroll<N>([&](auto t) QWILL_INLINE {
                        const F32x16 exact = to_f32(sum[p][t]);
                        if constexpr (s == 0 && kTogether == 1) scaled[p][t] = exact * scales.scale;
                        else scaled[p][t] = fma(exact, scales.scale, scaled[p][t]);
                        if constexpr (Format::kMinimum) scaled[p][t] = fma(scales.minimum, broadcast(x_sum[s * N + t]), scaled[p][t]);
                    });
                });
            });
            x_quants += 8 * N;
            bias += kSums * N;
            x_sum += kSums * N;
        }
        unroll<P>([&](auto p) QWILL_INLINE {
            unroll<N>([&](auto t) QWILL_INLINE { total[p][t] = fma(scaled[p][t], broadcast(x_scale[t]), total[p][t]); });
        });
        x_scale += N;
        if (place + kTogether == Format::kColumns / 32) {
            --spans;
            unroll<P>([&](auto p) QWILL_INLINE {
                span[p] += Format::kSpanBytes;
                if (kWhole && fetching) fetched[p] += Format::kSpanBytes;
            });
        }
    }
    unroll<P>([&](auto p) QWILL_INLINE {
        unroll<N>([&](auto t) QWILL_INLINE { store(out + kPanelRows * (p * N + t), total[p][t]); });
    });
}

}}  // namespace qwill::QWILL_ISA_NS
