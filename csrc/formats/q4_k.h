// Q4_K: 256 elements of 4 bits in 8 groups of 32, each with a 6-bit scale and a 6-bit minimum. Bytes 32p .. 32p + 31
// hold group 2p in their low and group 2p + 1 in their high nibbles.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockQ4_K {  // scale * group scale * quant - minimum * group minimum
    static constexpr int elements = 256;
    uint16_t scale;    // half
    uint16_t minimum;  // half
    uint8_t group_scales[12];
    uint8_t quants[128];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ4_K) == 144, "blocks are packed");

struct GroupScale {
    int scale;    // 0 .. 63
    int minimum;  // 0 .. 63
};

// The 12 bytes that Q4_K and Q5_K share: for groups 0 .. 3 the low six bits of bytes g (scale) and g + 4 (minimum); for
// groups 4 .. 7 the nibbles of byte g + 4, with the two bits that were left free above the six as their upper ones.
template <class Block>
inline GroupScale k_group_scale(const Block& block, int group) {
    const int scale_byte = block.group_scales[group & 3];
    const int minimum_byte = block.group_scales[(group & 3) + 4];
    if (group < 4) return {scale_byte & 0x3f, minimum_byte & 0x3f};
    const int nibbles = block.group_scales[group + 4];
    return {(nibbles & 0x0f) | scale_byte >> 6 << 4, nibbles >> 4 | minimum_byte >> 6 << 4};
}

inline void decode(const BlockQ4_K& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    const float minimum = half_to_float(block.minimum);
    for (int group = 0; group < 8; ++group) {
        const GroupScale six_bits = k_group_scale(block, group);
        const float group_scale = scale * static_cast<float>(six_bits.scale);
        const float group_minimum = minimum * static_cast<float>(six_bits.minimum);
        const int first_byte = group / 2 * 32;
        const int shift = group % 2 * 4;
        for (int i = 0; i < 32; ++i) {
            const int quant = block.quants[first_byte + i] >> shift & 0x0f;
            out[32 * group + i] = group_scale * static_cast<float>(quant) - group_minimum;
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
