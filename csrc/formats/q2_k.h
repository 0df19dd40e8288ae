// Q2_K: 256 elements of 2 bits in 16 groups of 16, each with a 4-bit scale (low nibble) and a 4-bit minimum (high nibble).
// A byte of `quants` holds four elements 32 apart: half h of the block (128 elements) takes bytes 32h .. 32h + 31.
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
    for (int group = 0; group < 16; ++group) {
        const float group_scale = scale * static_cast<float>(block.group_scales[group] & 0x0f);
        const float group_minimum = minimum * static_cast<float>(block.group_scales[group] >> 4);
        const int first_byte = group / 8 * 32 + group % 2 * 16;
        const int shift = group / 2 % 4 * 2;
        for (int i = 0; i < 16; ++i) {
            const int quant = block.quants[first_byte + i] >> shift & 3;
            out[16 * group + i] = group_scale * static_cast<float>(quant) - group_minimum;
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
