// Q5_K: Q4_K with a fifth bit; bit g of `high_bits[i]` belongs to element i of group g.
#pragma once

#include "q4_k.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockQ5_K {  // scale * group scale * quant - minimum * group minimum
    static constexpr int elements = 256;
    uint16_t scale;    // half
    uint16_t minimum;  // half
    uint8_t group_scales[12];
    uint8_t high_bits[32];
    uint8_t quants[128];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ5_K) == 176, "blocks are packed");

inline void decode(const BlockQ5_K& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    const float minimum = half_to_float(block.minimum);
    for (int group = 0; group < 8; ++group) {
        const GroupScale six_bits = k_group_scale(block, group);
        const float group_scale = scale * static_cast<float>(six_bits.scale);
        const float group_minimum = minimum * static_cast<float>(six_bits.minimum);
        const int first_byte = group / 2 * 32;
        const int shift = group % 2 * 4;
        for (int i = 0; i < 32; ++i) {
            const int low = block.quants[first_byte + i] >> shift & 0x0f;
            const int high = block.high_bits[i] >> group & 1;
            out[32 * group + i] = group_scale * static_cast<float>(low | high << 4) - group_minimum;
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
