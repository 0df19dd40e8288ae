// FP8 E4M3 of the official releases. The 128x128 block scales lie in a tensor of their own and are not applied here.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

struct BlockF8E4M3 {
    static constexpr int elements = 1;
    uint8_t bits;
};
static_assert(sizeof(BlockF8E4M3) == 1, "blocks are packed");

inline void decode(const BlockF8E4M3& block, float* __restrict out) { *out = e4m3_to_float(block.bits); }

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
