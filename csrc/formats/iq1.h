// IQ1_S and IQ1_M: eight elements of -1, 0, 1 from an 11-bit codebook index, shifted together by 1/8 up or down.
#pragma once

#include "half.h"
#include "iq_grids.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
struct BlockIQ1_S {  // 8 groups of 32
    static constexpr int elements = 256;
    uint16_t scale;       // half
    uint8_t indices[32];  // low eight bits, four to a group
    uint16_t groups[8];   // four times three high index bits, three bits of scale, one bit: shift down
};
struct BlockIQ1_M {  // 16 groups of 16
    static constexpr int elements = 256;
    uint8_t indices[32];       // low eight bits, two to a group
    uint8_t high_bits[16];     // two nibbles a group: three high index bits, one bit: shift down
    uint16_t group_scales[4];  // four times three bits; the four upper nibbles together are the half scale
};
#pragma pack(pop)
static_assert(sizeof(BlockIQ1_S) == 50 && sizeof(BlockIQ1_M) == 56, "blocks are packed");

inline void iq1_decode_eight(int index, bool down, float scale, float* __restrict out) {
    const float shift = down ? -0.125f : 0.125f;
    const auto& codeword = iq1_codebook.values[index];
    for (int i = 0; i < 8; ++i) out[i] = scale * (static_cast<float>(codeword[i]) + shift);
}

inline uint16_t iq1_m_scale(const BlockIQ1_M& block) {
    return static_cast<uint16_t>(block.group_scales[0] >> 12 | (block.group_scales[1] >> 12) << 4 |
                                 (block.group_scales[2] >> 12) << 8 | (block.group_scales[3] >> 12) << 12);
}

inline void decode(const BlockIQ1_S& block, float* __restrict out) {
    const float scale = half_to_float(block.scale);
    for (int group = 0; group < 8; ++group) {
        const int bits = block.groups[group];
        const float group_scale = scale * static_cast<float>(2 * (bits >> 12 & 7) + 1);
        for (int eight = 0; eight < 4; ++eight) {
            const int index = block.indices[4 * group + eight] | (bits >> 3 * eight & 7) << 8;
            iq1_decode_eight(index, bits & 0x8000, group_scale, out + 32 * group + 8 * eight);
        }
    }
}

inline void decode(const BlockIQ1_M& block, float* __restrict out) {
    const float scale = half_to_float(iq1_m_scale(block));
    for (int group = 0; group < 16; ++group) {
        const int three_bits = block.group_scales[group / 4] >> group % 4 * 3 & 7;
        const float group_scale = scale * static_cast<float>(2 * three_bits + 1);
        for (int eight = 0; eight < 2; ++eight) {
            const int nibble = block.high_bits[group] >> 4 * eight & 0x0f;
            const int index = block.indices[2 * group + eight] | (nibble & 7) << 8;
            iq1_decode_eight(index, nibble & 8, group_scale, out + 16 * group + 8 * eight);
        }
    }
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
