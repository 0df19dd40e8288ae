// IQ2_XXS, IQ2_XS and IQ2_S: eight magnitudes from a codebook index, eight signs, and a 4-bit scale for 32 or 16
// elements that stands for (scale + 1/2) / 4.
#pragma once

#include "half.h"
#include "iq_grids.h"
#include "iq_signs.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockIQ2_XXS {  // 8 groups of 32
    static constexpr int elements = 256;
    struct Group {
        uint8_t indices[4];
        uint32_t signs_and_scale;  // four times seven bits of sign, four bits of scale
    };
    uint16_t scale;  // half
    Group groups[8];
};
struct BlockIQ2_XS {  // 16 groups of 16
    static constexpr int elements = 256;
    uint16_t scale;           // half
    uint16_t codes[32];       // nine bits of index, seven of sign; two to a group
    uint8_t group_scales[8];  // nibbles
};
struct BlockIQ2_S {  // 16 groups of 16
    static constexpr int elements = 256;
    uint16_t scale;           // half
    uint8_t indices[32];      // low eight bits, two to a group
    uint8_t signs[32];
    uint8_t high_bits[8];     // four times two high index bits
    uint8_t group_scales[8];  // nibbles
};
#pragma pack(pop)
static_assert(sizeof(BlockIQ2_XXS) == 66 && sizeof(BlockIQ2_XS) == 74 && sizeof(BlockIQ2_S) == 82, "blocks are packed");

inline float iq2_group_scale(float scale, uint32_t four_bits) {
    return scale * (0.5f + static_cast<float>(four_bits)) * 0.25f;
}

inline void decode(const BlockIQ2_XXS& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int group = 0; group < 8; ++group) {
        const uint32_t bits = block.groups[group].signs_and_scale;
        const float group_scale = iq2_group_scale(scale, bits >> 28);
        for (int eight = 0; eight < 4; ++eight) {
            const int index = block.groups[group].indices[eight];
            const uint32_t signs = even_signs(bits >> 7 * eight & 0x7f);
            decode_signed(iq2_xxs_codebook.values[index], group_scale, signs, out + 32 * group + 8 * eight);
        }
    }
}

inline void decode(const BlockIQ2_XS& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int group = 0; group < 16; ++group) {
        const float group_scale = iq2_group_scale(scale, block.group_scales[group / 2] >> group % 2 * 4 & 0x0fu);
        for (int eight = 0; eight < 2; ++eight) {
            const uint32_t code = block.codes[2 * group + eight];
            const uint32_t signs = even_signs(code >> 9);
            decode_signed(iq2_xs_codebook.values[code & 0x1ff], group_scale, signs, out + 16 * group + 8 * eight);
        }
    }
}

inline void decode(const BlockIQ2_S& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int group = 0; group < 16; ++group) {
        const float group_scale = iq2_group_scale(scale, block.group_scales[group / 2] >> group % 2 * 4 & 0x0fu);
        for (int eight = 0; eight < 2; ++eight) {
            const int position = 2 * group + eight;
            const int high = block.high_bits[position / 4] >> position % 4 * 2 & 3;
            const int index = block.indices[position] | high << 8;
            decode_signed(iq2_s_codebook.values[index], group_scale, block.signs[position], out + 8 * position);
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
