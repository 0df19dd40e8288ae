// Q4_0 and Q4_1: 32 nibbles and a scale; byte j holds elements j (low nibble) and j + 16 (high nibble).
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockQ4_0 {  // scale * (quant - 8)
    static constexpr int elements = 32;
    uint16_t scale;  // half
    uint8_t quants[16];
};
struct BlockQ4_1 {  // scale * quant + minimum
    static constexpr int elements = 32;
    uint16_t scale;    // half
    uint16_t minimum;  // half
    uint8_t quants[16];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20, "blocks are packed");

inline void decode(const BlockQ4_0& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int i = 0; i < 16; ++i) {
        out[i] = scale * static_cast<float>((block.quants[i] & 0x0f) - 8);
        out[i + 16] = scale * static_cast<float>((block.quants[i] >> 4) - 8);
    }
}

inline void decode(const BlockQ4_1& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    const float minimum = half_to_float(block.minimum);
    for (int i = 0; i < 16; ++i) {
        out[i] = scale * static_cast<float>(block.quants[i] & 0x0f) + minimum;
        out[i + 16] = scale * static_cast<float>(block.quants[i] >> 4) + minimum;
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
