// Panels unfolded for many tokens: every code a byte, every scale a float.
//
// What a tile would do again for every few tokens (taking nibbles apart, widening scales) is done once. Sums and their order
// are those of the packed panel, so results are the same to the bit.
#pragma once

#include "generic/linear/integer_tile.h"

namespace qwill { namespace QWILL_ISA_NS {

template <int sums, bool minimum>
struct FloatScales {
    static constexpr int kSums = sums, kColumns = 32, kBytes = sums * (minimum ? 128 : 64);
    static constexpr bool kMinimum = minimum;
    static QWILL_INLINE inline Scales scales(const uint8_t* p, int64_t, int s) {
        const auto* floats = reinterpret_cast<const float*>(p) + s * (minimum ? 32 : 16);
        return {load(floats), minimum ? load(floats + 16) : zero()};
    }
};

template <typename Packed>
using UnfoldedFormat = Format<8, typename Packed::Meaning::Unfolded, FloatScales<Packed::kSums, Packed::kMinimum>,
                              Packed::Meaning::kLooksUp ? 8 : Packed::kDigits>;

template <typename Packed>
void unfold_panel(const uint8_t* span, int64_t columns, uint8_t* out) {
    using Out = UnfoldedFormat<Packed>;
    for (int64_t left = columns / 32; left > 0; span += Packed::kSpanBytes) {
        const int64_t blocks = left < Packed::kColumns / 32 ? left : Packed::kColumns / 32;
        left -= blocks;
        for (int64_t b = 0; b < blocks; ++b, out += Out::kSpanBytes) {
            auto* floats = reinterpret_cast<float*>(out);
            for (int s = 0; s < Packed::kSums; ++s) {
                const Scales scales = Packed::scales(span, b, s);
                store(floats, scales.scale);
                if constexpr (Packed::kMinimum) store(floats + 16, scales.minimum);
                floats += Packed::kMinimum ? 32 : 16;
            }
            Packed::template each_group<1, 0, 4>(&span, Packed::kBytes + Packed::kQuantBytes * b,
                [&](auto, auto g, const U8x64& code) QWILL_INLINE { store_bytes(out + Out::kBytes + 64 * g, Packed::Meaning::unfolded(code)); });
        }
    }
}

}}  // namespace qwill::QWILL_ISA_NS
