// Affine groups as MLX writes them: unsigned codes of `bits` bits in a little-endian stream, a scale and what is added, for
// every `group` columns.
#pragma once

#include "half.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

#pragma pack(push, 1)
template <int bits, int group>
struct BlockAffine {  // scale * code + minimum
    static constexpr int elements = group, kBits = bits;
    uint16_t scale;    // BF16
    uint16_t minimum;  // BF16
    uint8_t codes[group * bits / 8];
};
struct BlockAffineHalf {  // the same of bytes
    static constexpr int elements = 32, kBits = 8;
    uint16_t scale;    // half
    uint16_t minimum;  // half
    uint8_t codes[32];
};
#pragma pack(pop)
static_assert(sizeof(BlockAffine<4, 64>) == 36 && sizeof(BlockAffine<3, 32>) == 16, "blocks are packed");

// Eight codes are as many bytes as a code has bits.
template <int bits, int count>
inline void affine_codes(const uint8_t* __restrict stream, uint8_t* __restrict out) {
    if constexpr (bits == 8) {
        std::memcpy(out, stream, count);
    } else if constexpr (bits == 4) {
        for (int i = 0; i < count / 2; ++i) {
            out[2 * i] = stream[i] & 0x0f;
            out[2 * i + 1] = stream[i] >> 4;
        }
    } else {
        for (int eight = 0; eight < count / 8; ++eight) {
            uint64_t word = 0;
            std::memcpy(&word, stream + bits * eight, bits);
            for (int i = 0; i < 8; ++i) out[8 * eight + i] = static_cast<uint8_t>(word >> (bits * i) & ((1u << bits) - 1));
        }
    }
}

template <int bits, int group>
inline void decode_affine(float scale, float minimum, const uint8_t* stream, float* __restrict out) {
    uint8_t codes[group];
    affine_codes<bits, group>(stream, codes);
    for (int i = 0; i < group; ++i) out[i] = scale * static_cast<float>(codes[i]) + minimum;
}
template <int bits, int group>
inline void decode(const BlockAffine<bits, group>& block, float* __restrict out) {
    decode_affine<bits, group>(bfloat16_to_float(block.scale), bfloat16_to_float(block.minimum), block.codes, out);
}
inline void decode(const BlockAffineHalf& block, float* __restrict out) {
    decode_affine<8, 32>(half_to_float(block.scale), half_to_float(block.minimum), block.codes, out);
}

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
