// MXFP4 (OCP microscaling) and NVFP4: 4-bit floats E2M1 (sign, 2 exponent, 1 mantissa bit) under shared 8-bit scales.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

// Twice the value of each E2M1 code, to be whole numbers; the scales below are halved in return.
inline constexpr int8_t e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

#pragma pack(push, 1)
struct BlockMXFP4 {  // byte j holds elements j and j + 16
    static constexpr int elements = 32;
    uint8_t scale;  // E8M0: 2^(scale - 127)
    uint8_t quants[16];
};
struct BlockNVFP4 {  // 4 groups of 16; byte j of a group's 8 holds its elements j and j + 8
    static constexpr int elements = 64;
    uint8_t scales[4];  // E4M3, sign bit unused
    uint8_t quants[32];
};
#pragma pack(pop)
static_assert(sizeof(BlockMXFP4) == 17 && sizeof(BlockNVFP4) == 36, "blocks are packed");

// 2^(exponent - 128). The two smallest are denormal floats; 255, NaN in the OCP text, is a plain power here as in ggml.
inline float e8m0_to_float_halved(uint8_t exponent) {
    return bits_to_float(exponent < 2 ? 0x00200000u << exponent : static_cast<uint32_t>(exponent - 1) << 23);
}

// Half of the value of a scale without sign. As in ggml the NaN code 0x7f is zero and a set sign bit, which no sound
// encoder writes, is dropped: 0xff is then 480.
inline float e4m3_scale_to_float_halved(uint8_t scale) {
    const uint32_t magnitude = scale & 0x7fu;
    if (scale == 0x7f) return 0.0f;
    if (magnitude < 0x08u) return static_cast<float>(magnitude) * 0x1p-10f;
    return bits_to_float((magnitude << 20) + (119u << 23));
}

inline void decode(const BlockMXFP4& block, float* __restrict out) {
    const float scale = e8m0_to_float_halved(block.scale);
    for (int i = 0; i < 16; ++i) {
        out[i] = scale * static_cast<float>(e2m1_doubled[block.quants[i] & 0x0f]);
        out[i + 16] = scale * static_cast<float>(e2m1_doubled[block.quants[i] >> 4]);
    }
}

inline void decode(const BlockNVFP4& block, float* __restrict out) {
    for (int group = 0; group < 4; ++group) {
        const float scale = e4m3_scale_to_float_halved(block.scales[group]);
        for (int i = 0; i < 8; ++i) {
            const uint8_t pair = block.quants[8 * group + i];
            out[16 * group + i] = scale * static_cast<float>(e2m1_doubled[pair & 0x0f]);
            out[16 * group + i + 8] = scale * static_cast<float>(e2m1_doubled[pair >> 4]);
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
