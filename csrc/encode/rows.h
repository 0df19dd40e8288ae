// Rows to stored rows: which encoder a type has, and sixteen rows at a time for each task of the pool.
#pragma once

#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "encode/encode.h"
#include "encode/float.h"
#include "encode/fp4.h"
#include "encode/iq1.h"
#include "encode/iq2.h"
#include "encode/iq3.h"
#include "encode/iq4.h"
#include "encode/k_affine.h"
#include "encode/k_scale.h"
#include "encode/q4_q5.h"
#include "encode/q8_0.h"
#include "encoders.h"
#include "formats/decode.h"
#include "threads.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

// Up to sixteen rows of `columns` values, one after the other, as the blocks of those rows.
using EncodeRows = void (*)(const float* values, int64_t rows, int64_t columns, const float* weights, uint8_t* out);

template <void (*encode_values)(const float*, int64_t, uint8_t*)>
void rows_at_once(const float* values, int64_t rows, int64_t columns, const float*, uint8_t* out) {
    encode_values(values, rows * columns, out);
}

template <class Block>
void rows_by_tiles(const float* values, int64_t rows, int64_t columns, const float* weights, uint8_t* out) {
    const int64_t count = columns / Block::elements;
    Tile<Block::elements> tile;
    Block blocks[kLanes];
    for (int64_t i = 0; i < count; ++i) {
        load_tile(values + i * Block::elements, rows, columns, tile);
        encode(tile, weights + i * Block::elements, blocks);
        for (int64_t row = 0; row < rows; ++row) {
            std::memcpy(out + (row * count + i) * static_cast<int64_t>(sizeof(Block)), blocks + row, sizeof(Block));
        }
    }
}

template <class Block>
void rows_by_blocks(const float* values, int64_t rows, int64_t columns, const float* weights, uint8_t* out) {
    const int64_t count = columns / Block::elements;
    for (int64_t i = 0; i < rows * count; ++i) {
        Block block;
        encode(values + i * Block::elements, weights + i % count * Block::elements, block);
        std::memcpy(out + i * static_cast<int64_t>(sizeof(Block)), &block, sizeof(Block));
    }
}

// Null for a type that nothing encodes to.
inline EncodeRows row_encoder(int type_id) {
    using formats::TensorTypeId;
    switch (static_cast<TensorTypeId>(type_id)) {
        case TensorTypeId::F32: return rows_at_once<encode_f32>;
        case TensorTypeId::F16: return rows_at_once<encode_f16>;
        case TensorTypeId::BF16: return rows_at_once<encode_bf16>;
        case TensorTypeId::Q8_0: return rows_at_once<encode_q8_0>;
        case TensorTypeId::Q4_0: return rows_by_tiles<formats::BlockQ4_0>;
        case TensorTypeId::Q4_1: return rows_by_tiles<formats::BlockQ4_1>;
        case TensorTypeId::Q5_0: return rows_by_tiles<formats::BlockQ5_0>;
        case TensorTypeId::Q5_1: return rows_by_tiles<formats::BlockQ5_1>;
        case TensorTypeId::Q2_K: return rows_by_tiles<formats::BlockQ2_K>;
        case TensorTypeId::Q3_K: return rows_by_tiles<formats::BlockQ3_K>;
        case TensorTypeId::Q4_K: return rows_by_tiles<formats::BlockQ4_K>;
        case TensorTypeId::Q5_K: return rows_by_tiles<formats::BlockQ5_K>;
        case TensorTypeId::Q6_K: return rows_by_tiles<formats::BlockQ6_K>;
        case TensorTypeId::IQ1_S: return rows_by_blocks<formats::BlockIQ1_S>;
        case TensorTypeId::IQ1_M: return rows_by_blocks<formats::BlockIQ1_M>;
        case TensorTypeId::IQ2_XXS: return rows_by_blocks<formats::BlockIQ2_XXS>;
        case TensorTypeId::IQ2_XS: return rows_by_blocks<formats::BlockIQ2_XS>;
        case TensorTypeId::IQ2_S: return rows_by_blocks<formats::BlockIQ2_S>;
        case TensorTypeId::IQ3_XXS: return rows_by_blocks<formats::BlockIQ3_XXS>;
        case TensorTypeId::IQ3_S: return rows_by_blocks<formats::BlockIQ3_S>;
        case TensorTypeId::IQ4_NL: return rows_by_tiles<formats::BlockIQ4_NL>;
        case TensorTypeId::IQ4_XS: return rows_by_tiles<formats::BlockIQ4_XS>;
        case TensorTypeId::MXFP4: return rows_by_tiles<formats::BlockMXFP4>;
        case TensorTypeId::NVFP4: return rows_by_tiles<formats::BlockNVFP4>;
        default: return nullptr;
    }
}

inline int64_t block_elements(int type_id) {
    return row_encoder(type_id) == nullptr ? 0 : formats::codec(type_id).block_elements;
}

// See encode.h.
inline std::vector<float> column_weights(const float* importance, int64_t columns, double even_share) {
    std::vector<float> weights(static_cast<size_t>(columns), 1.0f);
    double sum = 0.0;
    if (importance != nullptr) for (int64_t i = 0; i < columns; ++i) sum += static_cast<double>(importance[i]);
    if (sum <= 0.0) return weights;
    const double factor = (1.0 - even_share) * static_cast<double>(columns) / sum;
    for (int64_t i = 0; i < columns; ++i) {
        weights[static_cast<size_t>(i)] = static_cast<float>(even_share + factor * static_cast<double>(importance[i]));
    }
    return weights;
}

inline void encode(const EncodeArgs& args, ThreadPool& pool) {
    const EncodeRows encode_rows = row_encoder(args.type);
    const formats::RowCodec codec = formats::codec(args.type);
    const int64_t row_bytes = args.columns / codec.block_elements * codec.block_bytes;
    const double even_share = args.type == static_cast<int>(formats::TensorTypeId::Q3_K) ? kQ3EvenShare : kEvenShare;
    const std::vector<float> weights = column_weights(args.importance, args.columns, even_share);
    pool.run((args.rows + kLanes - 1) / kLanes, [&](int64_t task, int) {
        const int64_t row = task * kLanes;
        encode_rows(args.values + row * args.columns, std::min(kLanes, args.rows - row), args.columns, weights.data(),
                    args.out + row * row_bytes);
    });
}

inline bool is_finite(const float* values, int64_t count, ThreadPool& pool) {
    constexpr int64_t kPart = int64_t{1} << 16;
    std::atomic<bool> finite{true};
    pool.run((count + kPart - 1) / kPart, [&](int64_t task, int) {
        const int64_t end = std::min(count, (task + 1) * kPart);
        uint32_t most = 0;
        for (int64_t i = task * kPart; i < end; ++i) most = std::max(most, formats::float_to_bits(values[i]) & 0x7fffffffu);
        if (most >= 0x7f800000u) finite.store(false, std::memory_order_relaxed);
    });
    return finite.load();
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
