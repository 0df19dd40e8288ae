// F32, F16 and BF16: rounded to the nearest, ties to even; never to infinity.
#pragma once

#include <cstring>

#include "encode/tile.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

inline void encode_f32(const float* values, int64_t count, uint8_t* out) {
    std::memcpy(out, values, static_cast<size_t>(count) * sizeof(float));
}

inline void encode_f16(const float* values, int64_t count, uint8_t* out) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        const Halves halves(load(values + i));
        std::memcpy(out + 2 * i, halves.bits, sizeof halves.bits);
    }
    if (i < count) {
        const Halves halves(load_first(values + i, count - i));
        std::memcpy(out + 2 * i, halves.bits, static_cast<size_t>(2 * (count - i)));
    }
}

// The upper half of a float. Unlike store_bf16 it keeps the smallest numbers, below 2^-126.
inline void encode_bf16(const float* values, int64_t count, uint8_t* out) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t bits = formats::float_to_bits(values[i]);
        const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        const uint16_t upper = static_cast<uint16_t>((rounded & 0x7fff) == 0x7f80 ? rounded - 1 : rounded);
        std::memcpy(out + 2 * i, &upper, sizeof upper);
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
