// Q6_K: 256 elements of 6 bits in 16 groups of 16 with signed byte scales; a quant is the six bits less 32.
// Each half h of the block is four rows r of 32 elements i. Rows r and r + 2 share the bytes `quants[64h + 32r + i]`
// (low and high nibble), and bits 2r, 2r + 1 of `high_bits[32h + i]` are the upper two of row r.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockQ6_K {  // scale * group scale * quant
    static constexpr int elements = 256;
    uint8_t quants[128];
    uint8_t high_bits[64];
    int8_t group_scales[16];
    uint16_t scale;  // half
};
#pragma pack(pop)
static_assert(sizeof(BlockQ6_K) == 210, "blocks are packed");

inline void decode(const BlockQ6_K& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int row = 0; row < 8; ++row) {
        const float first_scale = scale * static_cast<float>(block.group_scales[2 * row]);
        const float second_scale = scale * static_cast<float>(block.group_scales[2 * row + 1]);
        const int first_byte = row / 4 * 64 + row % 2 * 32;
        const int first_high = row / 4 * 32;
        const int shift = row % 4 / 2 * 4;
        const int high_shift = row % 4 * 2;
        for (int i = 0; i < 32; ++i) {
            const int low = block.quants[first_byte + i] >> shift & 0x0f;
            const int high = block.high_bits[first_high + i] >> high_shift & 3;
            out[32 * row + i] = (i < 16 ? first_scale : second_scale) * static_cast<float>((low | high << 4) - 32);
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
