// Q6_K: 256 elements of 6 bits in 16 groups of 16 with signed byte scales; a quant is the six bits less 32.
// Half h of the block (128 elements) is four rows of 32. Rows r and r + 2 share the bytes `quants[64h + 32r + i]` (low and
// high nibble), and bits 2r, 2r + 1 of `high_bits[32h + i]` are the upper two of row r.
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
    for (int group = 0; group < 16; ++group) {
        const float group_scale = scale * static_cast<float>(block.group_scales[group]);
        const int half = group / 8;
        const int row = group / 2 % 4;
        const int first_column = group % 2 * 16;
        const int first_byte = half * 64 + row % 2 * 32 + first_column;
        const int first_high = half * 32 + first_column;
        const int shift = row / 2 * 4;
        const int high_shift = row * 2;
        for (int i = 0; i < 16; ++i) {
            const int low = block.quants[first_byte + i] >> shift & 0x0f;
            const int high = block.high_bits[first_high + i] >> high_shift & 3;
            out[16 * group + i] = group_scale * static_cast<float>((low | high << 4) - 32);
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
