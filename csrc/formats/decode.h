// Every storage format to float, by its id.
//
// All products inside a decoder are exact in float: a half has 11 significant bits, scales and quants bring at most 13
// more. What rounds is at most one last addition or subtraction. So neither contraction to fused multiply-adds nor the
// vector width can change a bit of the result, and every ISA level decodes the same values. Blocks may lie at any
// address.
#pragma once

#include <cstdint>

#include "affine.h"
#include "float.h"
#include "fp4.h"
#include "fp8_e4m3.h"
#include "iq1.h"
#include "iq2.h"
#include "iq3.h"
#include "iq4.h"
#include "mxfp8.h"
#include "q2_k.h"
#include "q3_k.h"
#include "q4.h"
#include "q4_k.h"
#include "q5.h"
#include "q5_k.h"
#include "q6_k.h"
#include "q8_0.h"

namespace qwill {
namespace QWILL_ISA_NS {
namespace formats {

// Ids of the GGUF file format; what comes from safetensors only has an id of our own, from 100 on.
enum class TensorTypeId : int {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    IQ1_M = 29,
    BF16 = 30,
    MXFP4 = 39,
    NVFP4 = 40,
    F8_E4M3 = 100,
    MXFP8 = 101,
    // Bits of a code and columns of a group; scales in BF16, but for the last.
    AFFINE2_64 = 110,
    AFFINE3_64 = 111,
    AFFINE4_64 = 112,
    AFFINE5_64 = 113,
    AFFINE6_64 = 114,
    AFFINE8_64 = 115,
    AFFINE2_32 = 120,
    AFFINE3_32 = 121,
    AFFINE4_32 = 122,
    AFFINE5_32 = 123,
    AFFINE6_32 = 124,
    AFFINE8_32 = 125,
    AFFINE8_32_F16 = 130,
};

// Decodes `elements` consecutive values, which must be whole blocks, to `out`.
using DecodeRow = void (*)(const uint8_t* blocks, int64_t elements, float* out);

struct RowCodec {
    int block_elements;
    int block_bytes;
    DecodeRow decode;  // null: no such type
};

template <class Block>
void decode_row(const uint8_t* blocks, int64_t elements, float* __restrict out) {
    const Block* block = reinterpret_cast<const Block*>(blocks);
    const int64_t count = elements / Block::elements;
    for (int64_t i = 0; i < count; ++i) decode(block[i], out + i * Block::elements);
}

template <class Block>
RowCodec row_codec() {
    return {Block::elements, static_cast<int>(sizeof(Block)), decode_row<Block>};
}

inline RowCodec codec(int type_id) {
    switch (static_cast<TensorTypeId>(type_id)) {
        case TensorTypeId::F32: return row_codec<BlockF32>();
        case TensorTypeId::F16: return row_codec<BlockF16>();
        case TensorTypeId::Q4_0: return row_codec<BlockQ4_0>();
        case TensorTypeId::Q4_1: return row_codec<BlockQ4_1>();
        case TensorTypeId::Q5_0: return row_codec<BlockQ5_0>();
        case TensorTypeId::Q5_1: return row_codec<BlockQ5_1>();
        case TensorTypeId::Q8_0: return row_codec<BlockQ8_0>();
        case TensorTypeId::Q2_K: return row_codec<BlockQ2_K>();
        case TensorTypeId::Q3_K: return row_codec<BlockQ3_K>();
        case TensorTypeId::Q4_K: return row_codec<BlockQ4_K>();
        case TensorTypeId::Q5_K: return row_codec<BlockQ5_K>();
        case TensorTypeId::Q6_K: return row_codec<BlockQ6_K>();
        case TensorTypeId::IQ2_XXS: return row_codec<BlockIQ2_XXS>();
        case TensorTypeId::IQ2_XS: return row_codec<BlockIQ2_XS>();
        case TensorTypeId::IQ3_XXS: return row_codec<BlockIQ3_XXS>();
        case TensorTypeId::IQ1_S: return row_codec<BlockIQ1_S>();
        case TensorTypeId::IQ4_NL: return row_codec<BlockIQ4_NL>();
        case TensorTypeId::IQ3_S: return row_codec<BlockIQ3_S>();
        case TensorTypeId::IQ2_S: return row_codec<BlockIQ2_S>();
        case TensorTypeId::IQ4_XS: return row_codec<BlockIQ4_XS>();
        case TensorTypeId::IQ1_M: return row_codec<BlockIQ1_M>();
        case TensorTypeId::BF16: return row_codec<BlockBF16>();
        case TensorTypeId::MXFP4: return row_codec<BlockMXFP4>();
        case TensorTypeId::NVFP4: return row_codec<BlockNVFP4>();
        case TensorTypeId::F8_E4M3: return row_codec<BlockF8E4M3>();
        case TensorTypeId::MXFP8: return row_codec<BlockMXFP8>();
        case TensorTypeId::AFFINE2_64: return row_codec<BlockAffine<2, 64>>();
        case TensorTypeId::AFFINE3_64: return row_codec<BlockAffine<3, 64>>();
        case TensorTypeId::AFFINE4_64: return row_codec<BlockAffine<4, 64>>();
        case TensorTypeId::AFFINE5_64: return row_codec<BlockAffine<5, 64>>();
        case TensorTypeId::AFFINE6_64: return row_codec<BlockAffine<6, 64>>();
        case TensorTypeId::AFFINE8_64: return row_codec<BlockAffine<8, 64>>();
        case TensorTypeId::AFFINE2_32: return row_codec<BlockAffine<2, 32>>();
        case TensorTypeId::AFFINE3_32: return row_codec<BlockAffine<3, 32>>();
        case TensorTypeId::AFFINE4_32: return row_codec<BlockAffine<4, 32>>();
        case TensorTypeId::AFFINE5_32: return row_codec<BlockAffine<5, 32>>();
        case TensorTypeId::AFFINE6_32: return row_codec<BlockAffine<6, 32>>();
        case TensorTypeId::AFFINE8_32: return row_codec<BlockAffine<8, 32>>();
        case TensorTypeId::AFFINE8_32_F16: return row_codec<BlockAffineHalf>();
    }
    return {0, 0, nullptr};
}

// Null for an id that is none of the above.
inline DecodeRow decoder(int type_id) { return codec(type_id).decode; }

}  // namespace formats
}  // namespace QWILL_ISA_NS
}  // namespace qwill
