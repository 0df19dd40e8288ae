// Products of quantized weights and quantized activations: P panels of sixteen rows by N tokens.
//
// Each 32 columns (or 16, where these have a scale) are summed exactly in integers, turned to float, scaled, and added to
// the output's sum: one order of additions for every N and P and every instruction set.
#pragma once

#include "generic/linear/activations.h"
#include "generic/linear/integer_formats.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

template <typename Format, int N, int P>
void integer_tile(const PanelData* panels, int64_t columns, const Tile& tile, float* out) {
    constexpr int kSums = Format::kSums;  // in 32 columns: 2 when there is a scale for every 16
    const QuantizedTile x(tile.quantized, columns, N);
    const int32_t* x_quants = x.quants;
    const int32_t* bias = kSums == 2 ? x.bias16 : x.bias32;
    const float* x_scale = x.scale;
    const float* x_sum = kSums == 2 ? x.sum16 : x.sum32;
    const uint8_t* span[P];
    F32x16 total[P][N];
    unroll<P>([&](auto p) QWILL_INLINE {
        span[p] = panels[p].data;
        unroll<N>([&](auto t) QWILL_INLINE { total[p][t] = zero(); });
    });
    for (int64_t left = columns / 32; left > 0;) {
        const int64_t blocks = left < Format::kColumns / 32 ? left : Format::kColumns / 32;
        left -= blocks;
        for (int64_t b = 0; b < blocks; ++b) {
            const int64_t quants = Format::kBytes + Format::kQuantBytes * b;
            // All 32 columns, or 16 and 16.
            unroll<kSums>([&](auto s) QWILL_INLINE {
                I32x16 sum[P][N];
                unroll<N>([&](auto t) QWILL_INLINE {
                    const I32x16 start = Format::start(bias + s * N + t);
                    unroll<P>([&](auto p) QWILL_INLINE { sum[p][t] = start; });
                });
                constexpr int pairs = 4 / kSums;
                Format::template each_group<P, s * pairs, pairs>(span, quants, [&](auto p, auto g, const auto& w) QWILL_INLINE {
                    unroll<N>([&](auto t) QWILL_INLINE { sum[p][t] = dot4(sum[p][t], w, x_quants + g * N + t); });
                });
                unroll<P>([&](auto p) QWILL_INLINE {
                    const Scales scales = Format::scales(span[p], b, s);
                    unroll<N>([&](auto t) QWILL_INLINE {
                        F32x16 scaled = to_f32(sum[p][t]) * scales.scale;
                        if constexpr (Format::kMinimum) scaled = fma(scales.minimum, broadcast(x_sum[s * N + t]), scaled);
                        total[p][t] = fma(scaled, broadcast(x_scale[t]), total[p][t]);
                    });
                });
            });
            x_quants += 8 * N;
            bias += kSums * N;
            x_scale += N;
            x_sum += kSums * N;
        }
        unroll<P>([&](auto p) QWILL_INLINE { span[p] += Format::kSpanBytes; });
    }
    unroll<P>([&](auto p) QWILL_INLINE {
        unroll<N>([&](auto t) QWILL_INLINE { store(out + kPanelRows * (p * N + t), total[p][t]); });
    });
}

}}  // namespace qwill::QWILL_ISA_NS
