// Small floating point formats to float by moving bits, so that no translation unit needs an instruction set flag.
// All of it is exact and without branches, and none of it passes through a denormal float: a thread that flushes those
// to zero gets the same.
//
// As everywhere in formats/, the code lives in a namespace of the instruction set that it is compiled for.
#pragma once

#include <cstdint>
#include <cstring>

#ifndef QWILL_ISA_NS
#define QWILL_ISA_NS scalar
#endif

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

inline float bits_to_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t float_to_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// IEEE binary16: 1 sign, 5 exponent (bias 15), 10 mantissa bits.
inline float half_to_float(uint16_t half) {
    const uint32_t sign = (half & 0x8000u) << 16;
    const uint32_t magnitude = half & 0x7fffu;
    // float's exponent bias is 112 more; infinities and NaN go from exponent 31 to 255, 112 more once again.
    const uint32_t rebias = magnitude >= 0x7c00u ? 224u << 23 : 112u << 23;
    const uint32_t normal = (magnitude << 13) + rebias;
    const uint32_t subnormal = float_to_bits(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
    return bits_to_float(sign | (magnitude < 0x0400u ? subnormal : normal));
}

// The upper half of a binary32.
inline float bfloat16_to_float(uint16_t bits) { return bits_to_float(static_cast<uint32_t>(bits) << 16); }

// OCP FP8 E4M3 ("fn": no infinities, all ones is NaN): 1 sign, 4 exponent (bias 7), 3 mantissa bits.
inline float e4m3_to_float(uint8_t byte) {
    const uint32_t sign = (byte & 0x80u) << 24;
    const uint32_t magnitude = byte & 0x7fu;
    const uint32_t normal = (magnitude << 20) + (120u << 23);
    const uint32_t subnormal = float_to_bits(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-9f);
    const uint32_t finite = magnitude < 0x08u ? subnormal : normal;
    return bits_to_float(sign | (magnitude == 0x7fu ? 0x7fc00000u : finite));
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
