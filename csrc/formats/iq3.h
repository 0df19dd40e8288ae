// IQ3_XXS and IQ3_S: four magnitudes from a codebook index, a sign each, and a 4-bit scale for 32 elements.
#pragma once

#include "half.h"
#include "iq_grids.h"
#include "iq_signs.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockIQ3_XXS {  // a group's scale stands for (scale + 1/2) / 2
    static constexpr int elements = 256;
    uint16_t scale;  // half
    uint8_t indices[64];
    uint32_t signs_and_scales[8];  // four times seven bits of sign, four bits of scale
};
struct BlockIQ3_S {  // a group's scale stands for 2 * scale + 1
    static constexpr int elements = 256;
    uint16_t scale;        // half
    uint8_t indices[64];   // low eight bits
    uint8_t high_bits[8];  // the ninth bits, in order
    uint8_t signs[32];
    uint8_t group_scales[4];  // nibbles
};
#pragma pack(pop)
static_assert(sizeof(BlockIQ3_XXS) == 98 && sizeof(BlockIQ3_S) == 110, "blocks are packed");

inline void decode(const BlockIQ3_XXS& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int group = 0; group < 8; ++group) {
        const uint32_t bits = block.signs_and_scales[group];
        const float group_scale = scale * (0.5f + static_cast<float>(bits >> 28)) * 0.5f;
        for (int eight = 0; eight < 4; ++eight) {
            const uint32_t signs = even_signs(bits >> 7 * eight & 0x7f);
            const uint8_t* indices = block.indices + 8 * group + 2 * eight;
            float* values = out + 32 * group + 8 * eight;
            decode_signed(iq3_xxs_codebook.values[indices[0]], group_scale, signs, values);
            decode_signed(iq3_xxs_codebook.values[indices[1]], group_scale, signs >> 4, values + 4);
        }
    }
}

inline void decode(const BlockIQ3_S& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int group = 0; group < 8; ++group) {
        const int four_bits = block.group_scales[group / 2] >> group % 2 * 4 & 0x0f;
        const float group_scale = scale * static_cast<float>(2 * four_bits + 1);
        for (int four = 0; four < 8; ++four) {
            const int position = 8 * group + four;
            const int index = block.indices[position] | (block.high_bits[group] >> four & 1) << 8;
            const uint32_t signs = block.signs[position / 2] >> position % 2 * 4;
            decode_signed(iq3_s_codebook.values[index], group_scale, signs, out + 4 * position);
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
