// FP8 E4M3 with a float32 scale for each block of 128 x 128, as the official releases have it: value = number * scale.
#pragma once

#include <cmath>
#include <cstring>

#include "encode/tile.h"
#include "encoders.h"
#include "threads.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

constexpr int64_t kFp8Block = 128;
constexpr float kLargestE4M3 = 448.0f;

// To the nearest, ties to even; |value| <= 448.
inline uint8_t e4m3_from(float value) {
    const uint32_t bits = formats::float_to_bits(value), magnitude = bits & 0x7fffffffu;
    const uint32_t normal = (magnitude - (120u << 23) + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20;
    // Below 2^-6 numbers lie 2^-9 apart: added to 2^14, whose last bit is 2^-9, they round to that.
    const uint32_t subnormal = formats::float_to_bits(formats::bits_to_float(magnitude) + 16384.0f) - formats::float_to_bits(16384.0f);
    return static_cast<uint8_t>(bits >> 24 & 0x80u) | static_cast<uint8_t>(magnitude < (121u << 23) ? subnormal : normal);
}

inline void encode_fp8_block(const float* values, int64_t rows, int64_t columns, int64_t stride, uint8_t* out, float* scale) {
    float largest_value = 0.0f;
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < columns; ++i) largest_value = std::max(largest_value, std::fabs(values[row * stride + i]));
    }
    *scale = std::max(largest_value / kLargestE4M3, 1e-30f);
    const float inverse = 1.0f / *scale;
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < columns; ++i) {
            const float value = std::min(std::max(values[row * stride + i] * inverse, -kLargestE4M3), kLargestE4M3);
            out[row * stride + i] = e4m3_from(value);
        }
    }
}

inline void encode_fp8(const Fp8Args& args, ThreadPool& pool) {
    const int64_t across = (args.columns + kFp8Block - 1) / kFp8Block, down = (args.rows + kFp8Block - 1) / kFp8Block;
    pool.run(down * across, [&](int64_t task, int) {
        const int64_t row = task / across * kFp8Block, column = task % across * kFp8Block, at = row * args.columns + column;
        encode_fp8_block(args.values + at, std::min(kFp8Block, args.rows - row), std::min(kFp8Block, args.columns - column),
                         args.columns, args.out + at, args.scales + task);
    });
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
