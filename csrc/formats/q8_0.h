// Q8_0: 32 signed bytes and a scale.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockQ8_0 {
    static constexpr int elements = 32;
    uint16_t scale;  // half
    int8_t quants[32];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ8_0) == 34, "blocks are packed");

inline void decode(const BlockQ8_0& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(block.quants[i]);
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
