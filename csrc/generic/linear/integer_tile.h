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
    const uint8_t* quants = panel;
    const uint8_t* scale_bytes = panel + columns / 32 * Format::kQuantBytes;
    F32x16 total[N];
    unroll<N>([&](auto t) QWILL_INLINE { total[t] = zero(); });
    for (int64_t block = 0; block < columns / 32; ++block, quants += Format::kQuantBytes) {
        I32x16 sum[N][kSums];
        const int32_t* x_quants = x.quants + 8 * block * N;
        const int32_t* bias = kSums == 2 ? x.bias16 + 2 * block * N : x.bias32 + block * N;
        unroll<N>([&](auto t) QWILL_INLINE {
            unroll<kSums>([&](auto s) QWILL_INLINE { sum[t][s] = dot_start(typename Format::Operand{}, bias + s * N + t); });
        });
        Format::each_group(quants, [&](auto group, const auto& w) QWILL_INLINE {
            unroll<N>([&](auto t) QWILL_INLINE {
                constexpr int s = kSums == 2 ? group / 4 : 0;
                sum[t][s] = dot4(sum[t][s], w, x_quants + group * N + t);
            });
        });
        const Scales<kSums> scales = Format::scales(scale_bytes, block);
        unroll<N>([&](auto t) QWILL_INLINE {
            F32x16 scaled = to_f32(sum[t][0]) * scales.scale[0];
            if constexpr (kSums == 2) scaled = fma(to_f32(sum[t][1]), scales.scale[1], scaled);
            if constexpr (Format::kMinimum) scaled = fma(scales.minimum, broadcast(x.sum[block * N + t]), scaled);
            total[t] = fma(scaled, broadcast(x.scale[block * N + t]), total[t]);
        });
    }
    unroll<N>([&](auto t) QWILL_INLINE { store(out + kPanelRows * t, total[t]); });
}

}}  // namespace qwill::QWILL_ISA_NS
