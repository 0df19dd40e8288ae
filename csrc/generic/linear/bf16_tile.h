// Products of BF16 weights and activations rounded to BF16: a panel of sixteen rows by N tokens.
//
// A panel holds for every pair of columns the sixteen rows' two values. Sums are taken over 64 pairs in two chains (even and
// odd pairs), then added up: one order of additions for every N and instruction set.
#pragma once

#include <algorithm>
#include <cstring>

#include "formats/half.h"
#include "generic/linear/activations.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

template <int N>
void bf16_tile(const PanelData& panel, int64_t columns, const Tile& tile, float* out) {
    constexpr int64_t kSumPairs = 64, kPairBytes = kPanelRows * 4;
    const uint32_t* x = tile.pairs;
    constexpr bool kWhole = N == kTileTokens;
    const bool fetching = panel.next != nullptr;
    F32x16 total[N];
    unroll<N>([&](auto t) QWILL_INLINE { total[t] = zero(); });
    const int64_t pairs = (columns + 1) / 2;
    for (int64_t first = 0; first < pairs; first += kSumPairs) {
        const int64_t end = first + kSumPairs < pairs ? first + kSumPairs : pairs;
        // While pair `first` and its neighbours are multiplied.
        const auto* fetched = fetched_values<kWhole, uint8_t>(panel, kPairBytes * first, kPairBytes * end, kPairBytes * pairs);
        F32x16 sum[N][2];
        unroll<N>([&](auto t) QWILL_INLINE { sum[t][0] = sum[t][1] = zero(); });
        const auto add_pair = [&](int64_t k, auto chain) QWILL_INLINE {
            if (fetching) __builtin_prefetch(fetched + kPairBytes * (k - first), 0, kWhole ? 2 : 3);
            const BF16Pairs w = load_pairs(panel.data + kPairBytes * k);
            unroll<N>([&](auto t) QWILL_INLINE { sum[t][chain] = dot2(sum[t][chain], w, broadcast_pair(x + k * N + t)); });
        };
        int64_t k = first;
        for (; k + 2 <= end; k += 2) {
            add_pair(k, std::integral_constant<int, 0>{});
            add_pair(k + 1, std::integral_constant<int, 1>{});
        }
        if (k < end) add_pair(k, std::integral_constant<int, 0>{});
        unroll<N>([&](auto t) QWILL_INLINE { total[t] = total[t] + (sum[t][0] + sum[t][1]); });
    }
    unroll<N>([&](auto t) QWILL_INLINE { store(out + kPanelRows * t, total[t]); });
}

inline int64_t bf16_panel_bytes(int64_t columns) { return (columns + 1) / 2 * kPanelRows * 4; }

// How rows of a type are read as BF16.
struct BF16Rows {
    static uint16_t bits(const uint8_t* p) { uint16_t value; std::memcpy(&value, p, sizeof value); return value; }
};
struct F16Rows {
    static uint32_t float_bits(const uint8_t* p) { return formats::float_to_bits(formats::half_to_float(BF16Rows::bits(p))); }
    static uint16_t bits(const uint8_t* p) { return static_cast<uint16_t>(float_bits(p) >> 16); }
    // Whether nothing is lost: true of what was trained in BF16 and then converted.
    static bool exact(const uint8_t* p) { return (float_bits(p) & 0xffffu) == 0; }
};

// Packs up to sixteen rows of BF16; absent rows and an odd last column's neighbour are zero, and so are subnormals, which
// the processors' instruction takes for zero. False when a value is not finite.
template <typename Rows>
bool pack_bf16_panel(const uint8_t* const* rows, int64_t columns, uint8_t* panel) {
    constexpr int64_t kElements = 64;  // whose sixteen rows stay in the first cache while they are turned
    bool finite = true;
    for (int64_t first = 0; first < columns; first += kElements) {
        const int64_t count = std::min(kElements, columns - first), pairs = (count + 1) / 2;
        alignas(64) uint16_t lines[kPanelRows][kElements] = {};
        for (int r = 0; r < kPanelRows && rows[r] != nullptr; ++r) {
            const uint8_t* row = rows[r] + 2 * first;
            unsigned full = 0;
            for (int64_t i = 0; i < count; ++i) {
                const unsigned bits = Rows::bits(row + 2 * i), exponent = bits & 0x7f80u;
                full |= exponent == 0x7f80u;
                lines[r][i] = static_cast<uint16_t>(exponent != 0 ? bits : bits & 0x8000u);
            }
            finite &= full == 0;
        }
        uint8_t* out = panel + 32 * first;
        for (int64_t k = 0; k < pairs; ++k) {
            for (int r = 0; r < kPanelRows; ++r) std::memcpy(out + 64 * k + 4 * r, &lines[r][2 * k], 4);
        }
    }
    return finite;
}

}}  // namespace qwill::QWILL_ISA_NS
