// Q5_0 and Q5_1: like Q4_0 and Q4_1 with a fifth bit; bit i of `high_bits` belongs to element i.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockQ5_0 {  // scale * (quant - 16)
    static constexpr int elements = 32;
    uint16_t scale;  // half
    uint32_t high_bits;
    uint8_t quants[16];
};
struct BlockQ5_1 {  // scale * quant + minimum
    static constexpr int elements = 32;
    uint16_t scale;    // half
    uint16_t minimum;  // half
    uint32_t high_bits;
    uint8_t quants[16];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24, "blocks are packed");

// The five bits of elements i and i + 16, for i < 16.
template <class Block>
inline int q5_first(const Block& block, int i) {
    return (block.quants[i] & 0x0f) | static_cast<int>((block.high_bits >> i & 1u) << 4);
}
template <class Block>
inline int q5_second(const Block& block, int i) {
    return (block.quants[i] >> 4) | static_cast<int>((block.high_bits >> (i + 16) & 1u) << 4);
}

inline void decode(const BlockQ5_0& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int i = 0; i < 16; ++i) {
        out[i] = scale * static_cast<float>(q5_first(block, i) - 16);
        out[i + 16] = scale * static_cast<float>(q5_second(block, i) - 16);
    }
}

inline void decode(const BlockQ5_1& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    const float minimum = half_to_float(block.minimum);
    for (int i = 0; i < 16; ++i) {
        out[i] = scale * static_cast<float>(q5_first(block, i)) + minimum;
        out[i + 16] = scale * static_cast<float>(q5_second(block, i)) + minimum;
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
