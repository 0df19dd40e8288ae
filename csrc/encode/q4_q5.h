// Q4_0, Q4_1, Q5_0 and Q5_1: 32 values under a half for the scale, and one for the minimum.
#pragma once

#include "encode/search.h"
#include "formats/q4.h"
#include "formats/q5.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

// The nibbles of elements j and j + 16 in byte j.
inline void put_nibbles(const int8_t* quants, uint8_t* bytes) {
    for (int i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>((quants[i] & 0x0f) | (quants[i + 16] & 0x0f) << 4);
}

inline uint32_t fifth_bits(const int8_t* quants) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) bits |= static_cast<uint32_t>(quants[i] >> 4 & 1) << i;
    return bits;
}

// Blocks of a scale: quants -half .. half - 1, stored with `half` added.
template <int half, class Block, size_t count>
inline Quants<32> encode_scaled(const Tile<32>& tile, const float* weights, const float (&steps)[count], Block* blocks) {
    const Uniform levels{-static_cast<float>(half), static_cast<float>(half - 1)};
    const Halves scale(search_scale<32>(tile.values, ColumnWeights{weights}, levels, steps, 2).scale);
    const F32x16 inverse = reciprocal(scale.values);
    Quants<32> quants;
    for (int i = 0; i < 32; ++i) {
        quants.put(i, levels.nearest(load(tile.values[i]) * inverse) + broadcast(static_cast<float>(half)));
    }
    for (int lane = 0; lane < kLanes; ++lane) {
        blocks[lane].scale = scale.bits[lane];
        put_nibbles(quants.lanes[lane], blocks[lane].quants);
    }
    return quants;
}

// Blocks of a scale and a minimum: quants 0 .. highest.
template <int highest, class Block, size_t count>
inline Quants<32> encode_affine(const Tile<32>& tile, const float* weights, const AffineStep (&steps)[count], Block* blocks) {
    const Uniform levels{0.0f, static_cast<float>(highest)};
    const AffineFit fit = search_affine<32>(tile.values, weights, levels, steps, 2, false);
    const Halves scale(fit.scale), minimum(fit.minimum);
    const F32x16 inverse = reciprocal(scale.values);
    Quants<32> quants;
    for (int i = 0; i < 32; ++i) quants.put(i, levels.nearest((load(tile.values[i]) - minimum.values) * inverse));
    for (int lane = 0; lane < kLanes; ++lane) {
        blocks[lane].scale = scale.bits[lane];
        blocks[lane].minimum = minimum.bits[lane];
        put_nibbles(quants.lanes[lane], blocks[lane].quants);
    }
    return quants;
}

constexpr float kQ4Steps[] = {-8.0f, -8.2f, -8.8f, -7.2f, -7.8f, -8.5f, -6.9f, -6.2f, -7.4f, 8.3f, -7.6f, -8.4f, 8.0f};
constexpr float kQ5Steps[] = {
    -16.0f, -15.0f, -16.6f, -14.0f, -15.4f, -13.2f, -16.2f, -15.8f, -14.6f, -12.2f, -16.4f, -14.2f, -16.8f, -15.2f};
constexpr AffineStep kQ4AffineSteps[] = {
    {15.0f, 0.0f}, {15.5f, -0.25f}, {15.25f, -0.5f}, {15.5f, 0.0f}, {15.25f, -0.25f}, {14.0f, 0.0f}, {14.75f, 0.25f},
    {15.25f, 0.25f}, {15.5f, -0.5f}, {13.0f, 0.0f}, {14.25f, 0.0f}, {15.75f, -0.25f}, {14.25f, -0.25f}, {14.75f, 0.0f},
    {16.0f, 0.0f}, {16.0f, -0.75f}};
constexpr AffineStep kQ5AffineSteps[] = {
    {31.0f, 0.0f}, {30.5f, -0.25f}, {31.0f, -0.25f}, {31.0f, 0.25f}, {29.0f, 0.0f}, {29.75f, 0.0f}, {29.75f, 0.25f},
    {31.75f, -0.25f}, {31.5f, -0.5f}, {31.75f, 0.0f}, {29.25f, 0.0f}, {29.25f, -0.25f}, {31.25f, -0.25f}, {30.75f, 0.25f},
    {30.25f, -0.25f}, {30.25f, 0.0f}};

inline void encode(const Tile<32>& tile, const float* weights, formats::BlockQ4_0* blocks) {
    encode_scaled<8>(tile, weights, kQ4Steps, blocks);
}
inline void encode(const Tile<32>& tile, const float* weights, formats::BlockQ4_1* blocks) {
    encode_affine<15>(tile, weights, kQ4AffineSteps, blocks);
}
inline void encode(const Tile<32>& tile, const float* weights, formats::BlockQ5_0* blocks) {
    const Quants<32> quants = encode_scaled<16>(tile, weights, kQ5Steps, blocks);
    for (int lane = 0; lane < kLanes; ++lane) blocks[lane].high_bits = fifth_bits(quants.lanes[lane]);
}
inline void encode(const Tile<32>& tile, const float* weights, formats::BlockQ5_1* blocks) {
    const Quants<32> quants = encode_affine<31>(tile, weights, kQ5AffineSteps, blocks);
    for (int lane = 0; lane < kLanes; ++lane) blocks[lane].high_bits = fifth_bits(quants.lanes[lane]);
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
