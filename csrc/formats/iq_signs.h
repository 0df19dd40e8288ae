// Signs of the IQ2 and IQ3 types: one bit an element, apart from the magnitudes.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

// Signs stored as seven bits: an eighth makes the number of minus signs even.
inline uint32_t even_signs(uint32_t seven_bits) {
    const uint32_t folded = seven_bits ^ seven_bits >> 4;
    const uint32_t parity = 0x6996u >> (folded & 0x0f) & 1u;  // bit n of 0x6996 is the parity of n
    return seven_bits | parity << 7;
}

// The elements of a codeword with a scale; bit i of `signs` negates element i. Signs go straight to the sign bit: a
// branch on random bits would cost more than all the rest.
template <int dimensions>
inline void decode_signed(const int8_t (&codeword)[dimensions], float scale, uint32_t signs, float* __restrict out) {
    for (int i = 0; i < dimensions; ++i) {
        const uint32_t sign = (signs << (31 - i)) & 0x80000000u;
        out[i] = bits_to_float(float_to_bits(scale * static_cast<float>(codeword[i])) ^ sign);
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
