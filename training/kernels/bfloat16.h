// bfloat16 as it lies in memory, the upper half of a float32.
#pragma once
#include <cstdint>
#include <cstring>

inline float widen(uint16_t bits) {
    uint32_t word = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &word, 4);
    return value;
}

inline uint16_t narrow(float value) {  // to nearest, ties to even
    uint32_t word;
    std::memcpy(&word, &value, 4);
    return static_cast<uint16_t>((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}
