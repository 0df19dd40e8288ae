// Products of quantized weights and quantized activations: sixteen rows by N tokens.
//
// Each 32 columns are summed exactly in integers, turned to float, scaled, and added to the output's sum: one order of
// additions for every N and every instruction set.
#pragma once

#include "generic/linear/activations.h"
#include "generic/linear/integer_formats.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

template <typename Format, int N>
void integer_tile(const uint8_t* panel, const float*, int64_t columns, const Tile& tile, float* out) {
    constexpr int kSums = Format::kSums;  // integer sums in 32 columns: 2 when there is a scale for every 16
    const QuantizedTile x(tile.quantized, columns, N);
    const int32_t* x_quants = x.quants;
    const int32_t* bias = kSums == 2 ? x.bias16 : x.bias32;
    const float* x_scale = x.scale;
    const float* x_sum = x.sum;
    F32x16 total[N];
    unroll<N>([&](auto t) QWILL_INLINE { total[t] = zero(); });
    for (int64_t left = columns / 32; left > 0; panel += Format::kSpanBytes) {
        const uint8_t* quants = panel + Format::kBytes;
        const int64_t blocks = left < Format::kColumns / 32 ? left : Format::kColumns / 32;
        left -= blocks;
        for (int64_t b = 0; b < blocks; ++b) {
            I32x16 sum[N][kSums];
            unroll<N>([&](auto t) QWILL_INLINE {
                unroll<kSums>([&](auto s) QWILL_INLINE { sum[t][s] = dot_start(typename Format::Operand{}, bias + s * N + t); });
            });
            Format::each_group(quants, [&](auto group, const auto& w) QWILL_INLINE {
                unroll<N>([&](auto t) QWILL_INLINE {
                    constexpr int s = kSums == 2 ? group / 4 : 0;
                    sum[t][s] = dot4(sum[t][s], w, x_quants + group * N + t);
                });
            });
            const Scales<kSums> scales = Format::scales(panel, b);
            unroll<N>([&](auto t) QWILL_INLINE {
                F32x16 scaled = to_f32(sum[t][0]) * scales.scale[0];
                if constexpr (kSums == 2) scaled = fma(to_f32(sum[t][1]), scales.scale[1], scaled);
                if constexpr (Format::kMinimum) scaled = fma(scales.minimum, broadcast(x_sum[t]), scaled);
                total[t] = fma(scaled, broadcast(x_scale[t]), total[t]);
            });
            quants += Format::kQuantBytes;
            x_quants += 8 * N;
            bias += kSums * N;
            x_scale += N;
            x_sum += N;
        }
    }
    unroll<N>([&](auto t) QWILL_INLINE { store(out + kPanelRows * t, total[t]); });
}

}}  // namespace qwill::QWILL_ISA_NS
