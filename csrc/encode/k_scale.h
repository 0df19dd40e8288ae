// Q3_K and Q6_K: sixteen groups of 16 values, each with a whole number for its scale.
#pragma once

#include <cmath>

#include "encode/super_scale.h"
#include "formats/q3_k.h"
#include "formats/q6_k.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

constexpr float kQ3Steps[] = {-4.0f, -3.8f, -3.6f, -3.4f, -3.2f, -2.9f, -4.2f, -4.4f, 4.0f};
constexpr float kQ6Steps[] = {
    -32.0f, -31.0f, -30.0f, -29.0f, -28.0f, -27.0f, -32.5f, -26.0f, -25.0f, -31.25f, -24.0f, -30.75f, -31.75f, 23.0f, 22.25f,
    -30.25f, -29.75f, -32.25f, -29.25f, -28.75f};

// Two bits of each element e at e % 32 of its half's bytes, 2 (e / 32 % 4) bits up.
inline void put_two_bits(const uint8_t* quants, int shift, uint8_t* bytes) {
    for (int half = 0; half < 2; ++half) {
        for (int i = 0; i < 32; ++i) {
            const uint8_t* q = quants + 128 * half + i;
            const int four = (q[0] >> shift & 3) | (q[32] >> shift & 3) << 2 | (q[64] >> shift & 3) << 4 | (q[96] >> shift & 3) << 6;
            bytes[32 * half + i] = static_cast<uint8_t>(four);
        }
    }
}

// Weights times sqrt(kSizeOffset * mean square of the block + value^2). A row's result is large, and matters, when the columns of
// its large weights are at work; importance, a mean over all tokens, does not tell that. With three bits and no minimum it shows:
// weighing so costs 1% of squared error and saves 4% of the divergence (docs/quantization.md).
constexpr float kSizeOffset = 8.0f;

inline void weigh_by_size(const Tile<256>& tile, const float* weights, Tile<256>& sized) {
    F32x16 square = zero();
    for (int i = 0; i < 256; ++i) square = square + load(tile.values[i]) * load(tile.values[i]);
    float offset[kLanes];
    store(offset, square * broadcast(kSizeOffset / 256.0f));
    for (int i = 0; i < 256; ++i) {
        for (int lane = 0; lane < kLanes; ++lane) {
            const float value = tile.values[i][lane];
            sized.values[i][lane] = weights[i] * std::sqrt(offset[lane] + value * value);
        }
    }
}

inline void encode(const Tile<256>& tile, const float* weights, formats::BlockQ3_K* blocks) {
    const Uniform levels{-4.0f, 3.0f};
    Tile<256> sized;
    weigh_by_size(tile, weights, sized);
    const GroupScales<16> scales = search_super_scale<16, 16>(tile, TileWeights{sized.values}, levels, kQ3Steps, {-32.0f, 31.0f}, {2, 1, 3});
    Quants<256> quants;
    put_quants<16, 16>(tile, levels, scales, quants);
    Quants<16> steps;
    for (int group = 0; group < 16; ++group) steps.put(group, scales.steps[group]);
    for (int lane = 0; lane < kLanes; ++lane) {
        formats::BlockQ3_K& block = blocks[lane];
        block = {};
        block.scale = scales.scale.bits[lane];
        for (int group = 0; group < 16; ++group) {
            const int six = steps.lanes[lane][group] + 32;
            block.group_scales[group % 8] = static_cast<uint8_t>(block.group_scales[group % 8] | (six & 0x0f) << group / 8 * 4);
            block.group_scales[8 + group % 4] = static_cast<uint8_t>(block.group_scales[8 + group % 4] | six >> 4 << group / 4 * 2);
        }
        uint8_t q[256];
        for (int i = 0; i < 256; ++i) q[i] = static_cast<uint8_t>(quants.lanes[lane][i] + 4);
        put_two_bits(q, 0, block.quants);
        for (int row = 0; row < 8; ++row) {
            for (int i = 0; i < 32; ++i) block.high_bits[i] = static_cast<uint8_t>(block.high_bits[i] | q[32 * row + i] >> 2 << row);
        }
    }
}

inline void encode(const Tile<256>& tile, const float* weights, formats::BlockQ6_K* blocks) {
    const Uniform levels{-32.0f, 31.0f};
    const GroupScales<16> scales = search_super_scale<16, 16>(tile, ColumnWeights{weights}, levels, kQ6Steps, {-128.0f, 127.0f}, {1, 1, 2});
    Quants<256> quants;
    put_quants<16, 16>(tile, levels, scales, quants);
    Quants<16> steps;
    for (int group = 0; group < 16; ++group) steps.put(group, scales.steps[group]);
    for (int lane = 0; lane < kLanes; ++lane) {
        formats::BlockQ6_K& block = blocks[lane];
        block.scale = scales.scale.bits[lane];
        for (int group = 0; group < 16; ++group) block.group_scales[group] = steps.lanes[lane][group];
        uint8_t q[256];
        for (int i = 0; i < 256; ++i) q[i] = static_cast<uint8_t>(quants.lanes[lane][i] + 32);
        for (int i = 0; i < 64; ++i) {
            block.quants[i] = static_cast<uint8_t>((q[i] & 0x0f) | (q[i + 64] & 0x0f) << 4);
            block.quants[i + 64] = static_cast<uint8_t>((q[i + 128] & 0x0f) | (q[i + 192] & 0x0f) << 4);
        }
        put_two_bits(q, 4, block.high_bits);
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
