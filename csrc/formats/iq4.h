// IQ4_NL and IQ4_XS: nibbles that index 16 unevenly spaced values.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

inline constexpr int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

#pragma pack(push, 1)
struct BlockIQ4_NL {  // scale * value; byte j holds elements j and j + 16
    static constexpr int elements = 32;
    uint16_t scale;  // half
    uint8_t quants[16];
};
struct BlockIQ4_XS {  // scale * group scale * value; 8 groups of 32, each packed as in IQ4_NL
    static constexpr int elements = 256;
    uint16_t scale;               // half
    uint16_t group_scales_high;   // two bits a group
    uint8_t group_scales_low[4];  // four bits a group
    uint8_t quants[128];
};
#pragma pack(pop)
static_assert(sizeof(BlockIQ4_NL) == 18 && sizeof(BlockIQ4_XS) == 136, "blocks are packed");

// Scale of a group, -32 .. 31.
inline int iq4_xs_group_scale(const BlockIQ4_XS& block, int group) {
    const int low = block.group_scales_low[group / 2] >> group % 2 * 4 & 0x0f;
    const int high = block.group_scales_high >> group * 2 & 3;
    return (low | high << 4) - 32;
}

// 32 elements from 16 bytes.
inline void iq4_decode_group(const uint8_t* quants, float scale, float* __restrict out) {
    for (int i = 0; i < 16; ++i) {
        out[i] = scale * static_cast<float>(iq4_values[quants[i] & 0x0f]);
        out[i + 16] = scale * static_cast<float>(iq4_values[quants[i] >> 4]);
    }
}

inline void decode(const BlockIQ4_NL& block, float* __restrict out) {
    iq4_decode_group(block.quants, half_to_float(block.scale), out);
}

inline void decode(const BlockIQ4_XS& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int group = 0; group < 8; ++group) {
        const float group_scale = scale * static_cast<float>(iq4_xs_group_scale(block, group));
        iq4_decode_group(block.quants + 16 * group, group_scale, out + 32 * group);
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
