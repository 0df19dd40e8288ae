// Q3_K: 256 elements of 3 bits in 16 groups of 16 with 6-bit scales. Two bits lie as in Q2_K; the third of element e is
// bit e / 32 of `high_bits[e % 32]`, and a quant is the three bits less 4.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockQ3_K {  // scale * group scale * quant
    static constexpr int elements = 256;
    uint8_t high_bits[32];
    uint8_t quants[64];
    uint8_t group_scales[12];
    uint16_t scale;  // half
};
#pragma pack(pop)
static_assert(sizeof(BlockQ3_K) == 110, "blocks are packed");

// Scale of a group, -32 .. 31: the nibbles of bytes 0 .. 7 are the low four bits of groups 0 .. 7 and 8 .. 15, bytes
// 8 .. 11 hold the upper two bits of four groups each.
inline int q3_k_group_scale(const BlockQ3_K& block, int group) {
    const int low = block.group_scales[group % 8] >> group / 8 * 4 & 0x0f;
    const int high = block.group_scales[8 + group % 4] >> group / 4 * 2 & 3;
    return (low | high << 4) - 32;
}

inline void decode(const BlockQ3_K& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int row = 0; row < 8; ++row) {
        const float first_scale = scale * static_cast<float>(q3_k_group_scale(block, 2 * row));
        const float second_scale = scale * static_cast<float>(q3_k_group_scale(block, 2 * row + 1));
        const int first_byte = row / 4 * 32;
        const int shift = row % 4 * 2;
        for (int i = 0; i < 32; ++i) {
            const int low = block.quants[first_byte + i] >> shift & 3;
            const int high = block.high_bits[i] >> row & 1;
            out[32 * row + i] = (i < 16 ? first_scale : second_scale) * static_cast<float>((low | high << 2) - 4);
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
