// IQ4_NL and IQ4_XS: nibbles that index sixteen unevenly spaced levels.
#pragma once

#include "encode/q4_q5.h"
#include "encode/super_scale.h"
#include "formats/iq4.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

struct IQ4Levels {
    QWILL_INLINE F32x16 nearest(F32x16 a) const {
        F32x16 level = broadcast(static_cast<float>(formats::iq4_values[0]));
        unroll<15>([&](auto i) {
            constexpr float below = formats::iq4_values[i], above = formats::iq4_values[i + 1];
            level = select_less(broadcast((below + above) * 0.5f), a, broadcast(above), level);
        });
        return level;
    }
};

constexpr float kIQ4Steps[] = {
    -127.0f, -130.0f, 115.0f, -140.0f, -122.0f, -108.0f, 123.0f, 109.0f, -134.0f, -126.0f, 133.0f, 91.0f, -150.0f, -104.0f};

// Which of the levels each quant is, in place.
template <int n>
inline void to_indices(Quants<n>& quants) {
    uint8_t index[256] = {};
    for (int i = 0; i < 16; ++i) index[formats::iq4_values[i] + 128] = static_cast<uint8_t>(i);
    for (auto& lane : quants.lanes) {
        for (int8_t& quant : lane) quant = static_cast<int8_t>(index[quant + 128]);
    }
}

inline void encode(const Tile<32>& tile, const float* weights, formats::BlockIQ4_NL* blocks) {
    const IQ4Levels levels;
    const Halves scale(search_scale<32>(tile.values, ColumnWeights{weights}, levels, kIQ4Steps, 2).scale);
    const F32x16 inverse = reciprocal(scale.values);
    Quants<32> quants;
    for (int i = 0; i < 32; ++i) quants.put(i, levels.nearest(load(tile.values[i]) * inverse));
    to_indices(quants);
    for (int lane = 0; lane < kLanes; ++lane) {
        blocks[lane].scale = scale.bits[lane];
        put_nibbles(quants.lanes[lane], blocks[lane].quants);
    }
}

inline void encode(const Tile<256>& tile, const float* weights, formats::BlockIQ4_XS* blocks) {
    const IQ4Levels levels;
    const GroupScales<8> scales = search_super_scale<8, 32>(tile, ColumnWeights{weights}, levels, kIQ4Steps, {-32.0f, 31.0f}, {2, 1, 2});
    Quants<256> quants;
    put_quants<8, 32>(tile, levels, scales, quants);
    to_indices(quants);
    Quants<8> steps;
    for (int group = 0; group < 8; ++group) steps.put(group, scales.steps[group]);
    for (int lane = 0; lane < kLanes; ++lane) {
        formats::BlockIQ4_XS& block = blocks[lane];
        block = {};
        block.scale = scales.scale.bits[lane];
        for (int group = 0; group < 8; ++group) {
            const int six = steps.lanes[lane][group] + 32;
            block.group_scales_low[group / 2] = static_cast<uint8_t>(block.group_scales_low[group / 2] | (six & 0x0f) << group % 2 * 4);
            block.group_scales_high = static_cast<uint16_t>(block.group_scales_high | six >> 4 << group * 2);
            put_nibbles(quants.lanes[lane] + 32 * group, block.quants + 16 * group);
        }
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
