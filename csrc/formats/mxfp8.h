// MXFP8 (OCP microscaling): 32 numbers E4M3 under a shared power of two.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockMXFP8 {
    static constexpr int elements = 32;
    uint8_t scale;  // E8M0: 2^(scale - 127)
    uint8_t values[32];
};
#pragma pack(pop)
static_assert(sizeof(BlockMXFP8) == 33, "blocks are packed");

// 2^(exponent - 127); the smallest is a denormal float, 255, NaN in the OCP text, is infinity.
inline float e8m0_to_float(uint8_t exponent) {
    return bits_to_float(exponent == 0 ? 0x00400000u : static_cast<uint32_t>(exponent) << 23);
}

inline void decode(const BlockMXFP8& block, float* __restrict out) {
    const float scale = e8m0_to_float(block.scale);
    for (int i = 0; i < 32; ++i) out[i] = scale * e4m3_to_float(block.values[i]);
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
