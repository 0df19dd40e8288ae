// Products of F32, F16 and FP8 weights and float activations: a panel of sixteen rows by N tokens.
//
// A panel holds for every column the sixteen rows' values. Sums are taken over 128 columns in two chains (even and odd
// columns), then added up: less rounding than one long sum, and one order of additions for every N.
#pragma once

#include <cstdint>

#include "formats/decode.h"
#include "generic/linear/activations.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr int64_t kSumColumns = 128;  // also the side of FP8's scale blocks

// Storage types of float weights: `Stored` values, their vector load, and whether one is finite.
struct F32Element {
    using Stored = float;
    static QWILL_INLINE inline F32x16 load16(const float* p) { return load(p); }
    static bool finite(float x) { return (formats::float_to_bits(x) & 0x7f800000u) != 0x7f800000u; }
};
struct F16Element {
    using Stored = uint16_t;
    static QWILL_INLINE inline F32x16 load16(const uint16_t* p) { return load_f16(p); }
    static bool finite(uint16_t x) { return (x & 0x7c00u) != 0x7c00u; }
};
struct E4M3Element {
    using Stored = uint8_t;
    static QWILL_INLINE inline F32x16 load16(const uint8_t* p) { return load_e4m3(p); }
    static bool finite(uint8_t x) { return (x & 0x7fu) != 0x7fu; }
};

template <typename Element, int N>
void float_tile(const PanelData& panel, int64_t columns, const Tile& tile, float* out) {
    using Stored = typename Element::Stored;
    constexpr int64_t kInLine = 64 / (kPanelRows * static_cast<int64_t>(sizeof(Stored)));  // columns
    constexpr bool kWhole = N == kTileTokens;
    const bool fetching = panel.next != nullptr;
    const auto* weights = reinterpret_cast<const Stored*>(panel.data);
    const float* x = tile.values;
    F32x16 total[N];
    unroll<N>([&](auto t) QWILL_INLINE { total[t] = zero(); });
    for (int64_t first = 0; first < columns; first += kSumColumns) {
        const int64_t end = first + kSumColumns < columns ? first + kSumColumns : columns;
        // While column `first` and its neighbours are multiplied.
        const auto* fetched = fetched_values<kWhole, Stored>(panel, kPanelRows * first, kPanelRows * end, kPanelRows * columns);
        F32x16 sum[N][2];
        unroll<N>([&](auto t) QWILL_INLINE { sum[t][0] = sum[t][1] = zero(); });
        const auto add_column = [&](int64_t k, auto chain) QWILL_INLINE {
            if (fetching && k % kInLine == 0) __builtin_prefetch(fetched + kPanelRows * (k - first), 0, kWhole ? 2 : 3);
            const F32x16 w = Element::load16(weights + kPanelRows * k);
            unroll<N>([&](auto t) QWILL_INLINE { sum[t][chain] = fma(w, broadcast(x[k * N + t]), sum[t][chain]); });
        };
        int64_t k = first;
        for (; k + 2 <= end; k += 2) {
            add_column(k, std::integral_constant<int, 0>{});
            add_column(k + 1, std::integral_constant<int, 1>{});
        }
        if (k < end) add_column(k, std::integral_constant<int, 0>{});
        const F32x16 scale = broadcast(panel.scales != nullptr ? panel.scales[first / kSumColumns] : 1.0f);
        unroll<N>([&](auto t) QWILL_INLINE { total[t] = fma(sum[t][0] + sum[t][1], scale, total[t]); });
    }
    unroll<N>([&](auto t) QWILL_INLINE { store(out + kPanelRows * t, total[t]); });
}

template <typename Element>
int64_t float_panel_bytes(int64_t columns) {
    return columns * kPanelRows * static_cast<int64_t>(sizeof(typename Element::Stored));
}

// Packs up to sixteen rows of `columns` values; absent rows are zero. False when a value is not finite.
template <typename Element>
bool pack_float_panel(const uint8_t* const* rows, int64_t columns, uint8_t* panel) {
    using Stored = typename Element::Stored;
    auto* out = reinterpret_cast<Stored*>(panel);
    bool finite = true;
    for (int64_t k = 0; k < columns; ++k) {
        for (int r = 0; r < kPanelRows; ++r) {
            Stored value{};
            if (rows[r] != nullptr) std::memcpy(&value, rows[r] + k * static_cast<int64_t>(sizeof value), sizeof value);
            finite &= Element::finite(value);
            out[kPanelRows * k + r] = value;
        }
    }
    return finite;
}

}}  // namespace qwill::QWILL_ISA_NS
