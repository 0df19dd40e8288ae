// F32, F16 and BF16: plain numbers, a "block" is one element.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockF32 {
    static constexpr int elements = 1;
    float value;
};
struct BlockF16 {
    static constexpr int elements = 1;
    uint16_t bits;
};
struct BlockBF16 {
    static constexpr int elements = 1;
    uint16_t bits;
};
#pragma pack(pop)
static_assert(sizeof(BlockF32) == 4 && sizeof(BlockF16) == 2 && sizeof(BlockBF16) == 2, "blocks are packed");

inline void decode(const BlockF32& block, float* __restrict out) { *out = block.value; }
inline void decode(const BlockF16& block, float* __restrict out) { *out = half_to_float(block.bits); }
inline void decode(const BlockBF16& block, float* __restrict out) { *out = bfloat16_to_float(block.bits); }

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
