// Panels unfolded for many tokens: every code a byte, every scale a float.
//
// What a tile would do again for every few tokens (taking nibbles apart, widening scales) is done once. Sums and their order
// are those of the packed panel, so results are the same to the bit.
#pragma once

#include "generic/linear/integer_tile.h"

namespace qwill { namespace QWILL_ISA_NS {

template <int columns, int sums, bool minimum>
struct FloatScales {
    static constexpr int kSums = sums, kColumns = columns, kScaled = columns, kBytes = columns / 32 * sums * (minimum ? 128 : 64);
    static constexpr bool kMinimum = minimum;
    static QWILL_INLINE inline Scales scales(const uint8_t* p, int64_t b, int s) {
        const auto* floats = reinterpret_cast<const float*>(p) + (sums * b + s) * (minimum ? 32 : 16);
        return {load(floats), minimum ? load(floats + 16) : zero()};
    }
};

template <typename Packed>
using UnfoldedFormat = Format<8, typename Packed::Meaning::Unfolded, FloatScales<Packed::kScaled, Packed::kSums, Packed::kMinimum>,
                              Packed::Meaning::kLooksUp ? 8 : Packed::kDigits, kMatrixProducts>;

// Puts group g of 32 columns into its place. Where matrices are multiplied, two groups' places hold both groups of the upper
// eight rows and then of the lower ones; groups come in order.
template <int g>
QWILL_INLINE inline void store_group(uint8_t* codes, const U8x64& group) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    if constexpr (g % 2 == 1) {
        const S8x64 even = signed_bytes(load_bytes(codes + 64 * (g - 1))), odd = signed_bytes(group);
        store_bytes(codes + 64 * (g - 1), unsigned_bytes(eight_rows<0>(even, odd)));
        store_bytes(codes + 64 * g, unsigned_bytes(eight_rows<1>(even, odd)));
        return;
    }
#endif
    store_bytes(codes + 64 * g, group);
}

template <typename Packed>
void unfold_panel(const uint8_t* span, int64_t columns, uint8_t* out) {
    using Out = UnfoldedFormat<Packed>;
    for (int64_t block = 0; block < columns / 32; ++block) {
        const int64_t b = block % (Packed::kColumns / 32), out_b = block % (Out::kColumns / 32);
        auto* floats = reinterpret_cast<float*>(out) + Out::kSums * out_b * (Packed::kMinimum ? 32 : 16);
        for (int s = 0; s < Packed::kSums; ++s) {
            const Scales scales = Packed::scales(span, b, s);
            store(floats, scales.scale);
            if constexpr (Packed::kMinimum) store(floats + 16, scales.minimum);
            floats += Packed::kMinimum ? 32 : 16;
        }
        uint8_t* codes = out + Out::kBytes + Out::kQuantBytes * out_b;
        Packed::template each_group<0, 4>(span + Packed::kBytes + Packed::kQuantBytes * b,
            [&](auto g, const U8x64& code) QWILL_INLINE { store_group<g>(codes, Packed::Meaning::unfolded(code)); });
        if (b + 1 == Packed::kColumns / 32) span += Packed::kSpanBytes;
        if (out_b + 1 == Out::kColumns / 32) out += Out::kSpanBytes;
    }
}

}}  // namespace qwill::QWILL_ISA_NS
