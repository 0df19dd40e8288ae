// Q2_K: 256 elements of 2 bits in 16 groups of 16, each with a 4-bit scale (low nibble) and a 4-bit minimum (high
// nibble). A byte of `quants` holds four elements 32 apart: each half of the block, four rows of 32, takes 32 bytes.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockQ2_K {  // scale * group scale * quant - minimum * group minimum
    static constexpr int elements = 256;
    uint8_t group_scales[16];
    uint8_t quants[64];
    uint16_t scale;    // half
    uint16_t minimum;  // half
};
#pragma pack(pop)
static_assert(sizeof(BlockQ2_K) == 84, "blocks are packed");

inline void decode(const BlockQ2_K& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    const float minimum = half_to_float(block.minimum);
    for (int row = 0; row < 8; ++row) {
        const int first_group = block.group_scales[2 * row];
        const int second_group = block.group_scales[2 * row + 1];
        const float first_scale = scale * static_cast<float>(first_group & 0x0f);
        const float second_scale = scale * static_cast<float>(second_group & 0x0f);
        const float first_minimum = minimum * static_cast<float>(first_group >> 4);
        const float second_minimum = minimum * static_cast<float>(second_group >> 4);
        const int first_byte = row / 4 * 32;
        const int shift = row % 4 * 2;
        for (int i = 0; i < 32; ++i) {
            const float quant = static_cast<float>(block.quants[first_byte + i] >> shift & 3);
            out[32 * row + i] = i < 16 ? first_scale * quant - first_minimum : second_scale * quant - second_minimum;
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
