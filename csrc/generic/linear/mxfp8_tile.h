// Products of MXFP8 weights and float activations: a panel of sixteen rows by N tokens.
//
// A panel holds for every 32 columns the sixteen rows' powers of two and then, column by column, their numbers. Sums are
// taken over 32 columns in two chains, added up and scaled: one order of additions for every N.
#pragma once

#include <cstdint>
#include <cstring>

#include "formats/decode.h"
#include "generic/linear/activations.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr int64_t kMXFP8Columns = 32, kMXFP8SpanBytes = kPanelRows * (kMXFP8Columns + 1);
constexpr uint8_t kMXFP8Overflow = 247;  // 2^120, by which the largest number, 448, is infinite

template <int N>
void mxfp8_tile(const PanelData& panel, int64_t columns, const Tile& tile, float* out) {
    constexpr bool kWhole = N == kTileTokens;
    constexpr int64_t kInLine = 64 / kPanelRows;  // columns
    const bool fetching = panel.next != nullptr;
    const float* x = tile.values;
    F32x16 total[N];
    unroll<N>([&](auto t) QWILL_INLINE { total[t] = zero(); });
    const int64_t spans = columns / kMXFP8Columns;
    for (int64_t n = 0; n < spans; ++n) {
        const uint8_t* span = panel.data + n * kMXFP8SpanBytes;
        // What follows the next few spans, or those of the next panel (integer_tile.h says which).
        constexpr int64_t kAhead = 6;
        const uint8_t* fetched = !fetching ? nullptr : kWhole ? panel.next + n * kMXFP8SpanBytes
                               : n + kAhead < spans ? span + kAhead * kMXFP8SpanBytes
                               : panel.next + (n + kAhead - spans) * kMXFP8SpanBytes;
        F32x16 sum[N][2];
        unroll<N>([&](auto t) QWILL_INLINE { sum[t][0] = sum[t][1] = zero(); });
        const uint8_t* values = span + kPanelRows;
        for (int64_t k = 0; k < kMXFP8Columns; k += 2) {
            if (fetching && k % kInLine == 0) __builtin_prefetch(fetched + kPanelRows * k, 0, kWhole ? 2 : 3);
            unroll<2>([&](auto chain) QWILL_INLINE {
                const F32x16 w = load_e4m3(values + kPanelRows * (k + chain));
                unroll<N>([&](auto t) QWILL_INLINE { sum[t][chain] = fma(w, broadcast(x[(k + chain) * N + t]), sum[t][chain]); });
            });
        }
        x += kMXFP8Columns * N;
        const F32x16 scale = load_exponents(span);
        unroll<N>([&](auto t) QWILL_INLINE { total[t] = fma(sum[t][0] + sum[t][1], scale, total[t]); });
    }
    unroll<N>([&](auto t) QWILL_INLINE { store(out + kPanelRows * t, total[t]); });
}

inline int64_t mxfp8_panel_bytes(int64_t columns) { return columns / kMXFP8Columns * kMXFP8SpanBytes; }

// Packs up to sixteen rows; absent rows are zero. False when a value is not finite.
inline bool pack_mxfp8_panel(const uint8_t* const* rows, int64_t columns, uint8_t* panel) {
    bool finite = true;
    for (int64_t n = 0; n < columns / kMXFP8Columns; ++n) {
        uint8_t* span = panel + n * kMXFP8SpanBytes;
        for (int r = 0; r < kPanelRows; ++r) {
            formats::BlockMXFP8 block{};
            if (rows[r] != nullptr) std::memcpy(&block, rows[r] + n * static_cast<int64_t>(sizeof block), sizeof block);
            span[r] = block.scale;  // 2^-127 counts as zero, as in MXFP4
            finite &= block.scale < kMXFP8Overflow;
            for (int k = 0; k < kMXFP8Columns; ++k) {
                span[kPanelRows * (k + 1) + r] = block.values[k];
                finite &= (block.values[k] & 0x7fu) != 0x7fu;
            }
        }
    }
    return finite;
}

}}  // namespace qwill::QWILL_ISA_NS
