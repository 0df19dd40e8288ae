// Q2_K, Q4_K and Q5_K: groups of 16 or 32 values, each with whole numbers for its scale and its minimum.
#pragma once

#include "encode/k_scale.h"
#include "encode/q4_q5.h"
#include "encode/super_affine.h"
#include "formats/q2_k.h"
#include "formats/q4_k.h"
#include "formats/q5_k.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

constexpr AffineStep kQ2KSteps[] = {
    {3.0f, 0.0f}, {3.5f, -0.25f}, {3.5f, -0.5f}, {3.5f, 0.0f}, {4.25f, -1.0f}, {4.25f, -0.5f}, {4.0f, 0.0f}, {4.25f, -0.75f},
    {2.75f, 0.25f}, {2.5f, 0.75f}, {4.25f, -1.25f}, {4.25f, -0.25f}, {3.25f, -0.25f}, {3.25f, 0.0f}, {3.25f, -0.5f},
    {3.5f, 0.25f}};

inline void encode(const Tile<256>& tile, const float* weights, formats::BlockQ2_K* blocks) {
    const Uniform levels{0.0f, 3.0f};
    const GroupAffines<16> affines = search_super_affine<16, 16>(tile, weights, levels, kQ2KSteps, {0.0f, 15.0f}, {2, 1, 3});
    Quants<256> quants;
    put_quants<16, 16>(tile, levels, affines, quants);
    Quants<16> scales, minima;
    for (int group = 0; group < 16; ++group) {
        scales.put(group, affines.scale_steps[group]);
        minima.put(group, affines.minimum_steps[group]);
    }
    for (int lane = 0; lane < kLanes; ++lane) {
        formats::BlockQ2_K& block = blocks[lane];
        block.scale = affines.scale.bits[lane];
        block.minimum = affines.minimum.bits[lane];
        for (int group = 0; group < 16; ++group) {
            block.group_scales[group] = static_cast<uint8_t>(scales.lanes[lane][group] | minima.lanes[lane][group] << 4);
        }
        put_two_bits(reinterpret_cast<const uint8_t*>(quants.lanes[lane]), 0, block.quants);
    }
}

// What Q4_K and Q5_K share: all but the fifth bits.
template <class Block, size_t count>
inline void encode_k_affine(const Tile<256>& tile, const float* weights, const Uniform& levels, const AffineStep (&candidates)[count],
                            Quants<256>& quants, Block* blocks) {
    const GroupAffines<8> affines = search_super_affine<8, 32>(tile, weights, levels, candidates, {0.0f, 63.0f}, {2, 1, 2});
    put_quants<8, 32>(tile, levels, affines, quants);
    Quants<8> scales, minima;
    for (int group = 0; group < 8; ++group) {
        scales.put(group, affines.scale_steps[group]);
        minima.put(group, affines.minimum_steps[group]);
    }
    for (int lane = 0; lane < kLanes; ++lane) {
        Block& block = blocks[lane];
        block.scale = affines.scale.bits[lane];
        block.minimum = affines.minimum.bits[lane];
        for (int group = 0; group < 4; ++group) {
            const int scale = scales.lanes[lane][group], minimum = minima.lanes[lane][group];
            const int upper_scale = scales.lanes[lane][group + 4], upper_minimum = minima.lanes[lane][group + 4];
            block.group_scales[group] = static_cast<uint8_t>(scale | upper_scale >> 4 << 6);
            block.group_scales[group + 4] = static_cast<uint8_t>(minimum | upper_minimum >> 4 << 6);
            block.group_scales[group + 8] = static_cast<uint8_t>((upper_scale & 0x0f) | (upper_minimum & 0x0f) << 4);
        }
        const int8_t* q = quants.lanes[lane];
        for (int pair = 0; pair < 4; ++pair) {
            for (int i = 0; i < 32; ++i) {
                const int low = q[64 * pair + i] & 0x0f, high = q[64 * pair + 32 + i] & 0x0f;
                block.quants[32 * pair + i] = static_cast<uint8_t>(low | high << 4);
            }
        }
    }
}

inline void encode(const Tile<256>& tile, const float* weights, formats::BlockQ4_K* blocks) {
    Quants<256> quants;
    encode_k_affine(tile, weights, {0.0f, 15.0f}, kQ4AffineSteps, quants, blocks);
}

inline void encode(const Tile<256>& tile, const float* weights, formats::BlockQ5_K* blocks) {
    Quants<256> quants;
    encode_k_affine(tile, weights, {0.0f, 31.0f}, kQ5AffineSteps, quants, blocks);
    for (int lane = 0; lane < kLanes; ++lane) {
        for (int i = 0; i < 32; ++i) {
            int bits = 0;
            for (int group = 0; group < 8; ++group) bits |= quants.lanes[lane][32 * group + i] >> 4 << group;
            blocks[lane].high_bits[i] = static_cast<uint8_t>(bits);
        }
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
