// Attention of image patches: every patch of a segment sees all others of it.
//
// One head at a time: its keys, turned, are laid out in blocks of kKeyBlock with the keys side by side, so that scores need no
// sums over lanes; its values beside them with rows padded to whole vectors. Then tiles of queries run over the blocks.
//
// Towers in BF16 are computed in it: queries, keys, values and the softmax's weights are rounded, and two neighbours of a sum
// (dimensions of a key, keys of a value) lie in one cell, see dot2.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <vector>

#include "generic/rotary.h"
#include "generic/softmax_rows.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr int64_t kQueryTile = 64;

// A block of one segment's keys, or a tile of its queries.
struct PatchRange {
    int64_t first, count;      // rows
    int64_t blocks, block_count;  // the segment's blocks of keys: first one and how many
};

// Cell: a float, or uint32_t for a pair of BF16.
template <typename Cell>
struct VisionHead {
    static constexpr int64_t kPer = std::is_same_v<Cell, float> ? 1 : 2;  // numbers in a cell
    const VisionAttentionArgs& args;
    int64_t head, width;  // width: dim rounded up to whole vectors
    Cell* keys;           // [blocks, dim / kPer, kKeyBlock]
    Cell* values;         // [blocks, kKeyBlock / kPer, width]

    int64_t depth() const { return args.dim / kPer; }
    Cell* block_keys(int64_t block) const { return keys + block * depth() * kKeyBlock; }
    Cell* block_values(int64_t block) const { return values + block * (kKeyBlock / kPer) * width; }

    const float* row(int64_t token, int64_t part) const {
        return args.qkv + ((token * 3 + part) * args.heads + head) * args.dim;
    }
    void turn(int64_t token, int64_t part, float* out) const {
        const int64_t half = args.dim / 2;
        rotate_half(row(token, part), args.cos + token * half, args.sin + token * half, half, out);
    }
};

// Rounds n floats to BF16, pairs of neighbours to out [ceil(n / 2)]. out may be x.
inline void round_pairs(const float* x, int64_t n, uint32_t* out) {
    for_vectors(n, [&](auto get, auto) {
        store_bf16(reinterpret_cast<uint16_t*>(out), get(x));
        out += 8;
    });
}

// Rows past the segment's end stay zero: their scores are masked and their values weigh nothing.
template <typename Cell>
inline void pack_block(const VisionHead<Cell>& head, const PatchRange& range, int64_t block, float* turned) {
    const int64_t dim = head.args.dim;
    Cell *keys = head.block_keys(block), *values = head.block_values(block);
    std::fill(keys, keys + head.depth() * kKeyBlock, Cell{});
    std::fill(values, values + kKeyBlock / head.kPer * head.width, Cell{});
    for (int64_t i = 0; i < range.count; ++i) {
        head.turn(range.first + i, 1, turned);
        const float* value = head.row(range.first + i, 2);
        if constexpr (std::is_same_v<Cell, float>) {
            for (int64_t d = 0; d < dim; ++d) keys[d * kKeyBlock + i] = turned[d];
            std::copy(value, value + dim, values + i * head.width);
        } else {
            auto* rounded = reinterpret_cast<uint32_t*>(turned);
            round_pairs(turned, dim, rounded);
            for (int64_t d = 0; d < dim / 2; ++d) keys[d * kKeyBlock + i] = rounded[d];
            round_pairs(value, dim, rounded);
            const auto* halves = reinterpret_cast<const uint16_t*>(turned);
            auto* out = reinterpret_cast<uint16_t*>(values + i / 2 * head.width) + i % 2;
            for (int64_t d = 0; d < dim; ++d) out[2 * d] = halves[d];
        }
    }
}

// scores[r, 16 j...] = query r . the keys, for Rows rows and Vectors vectors of keys. queries: rows of `stride` cells.
template <int Rows, int Vectors, typename Cell>
inline void packed_score_tile(const float* queries, int64_t stride, const Cell* keys, int64_t depth, float* scores) {
    F32x16 sums[Rows][Vectors];
    unroll<Rows>([&](auto r) { unroll<Vectors>([&](auto j) { sums[r][j] = zero(); }); });
    for (int64_t d = 0; d < depth; ++d) {
        decltype(load_numbers(keys)) key[Vectors];
        unroll<Vectors>([&](auto j) { key[j] = load_numbers(keys + d * kKeyBlock + 16 * j); });
        unroll<Rows>([&](auto r) {
            const auto query = broadcast_for(key[0], queries + r * stride + d);
            unroll<Vectors>([&](auto j) { sums[r][j] = add_products(query, key[j], sums[r][j]); });
        });
    }
    unroll<Rows>([&](auto r) { unroll<Vectors>([&](auto j) { store(scores + r * kKeyBlock + 16 * j, sums[r][j]); }); });
}

template <typename Cell>
inline void packed_score(const float* queries, int64_t stride, int64_t rows, const Cell* keys, int64_t depth, float* scores) {
    for (int64_t k = 0; k < kKeyBlock; k += 16 * kTile) {
        int64_t row = 0;
        for (; row + kTile <= rows; row += kTile) {
            packed_score_tile<kTile, kTile>(queries + row * stride, stride, keys + k, depth, scores + row * kKeyBlock + k);
        }
        for (; row < rows; ++row) packed_score_tile<1, kTile>(queries + row * stride, stride, keys + k, depth, scores + row * kKeyBlock + k);
    }
}

inline int64_t vision_scratch_floats(int64_t dim, int64_t width) {
    return kQueryTile * (dim + kKeyBlock) + SoftmaxRows::floats(kQueryTile, width) + round_up(dim, 16);
}

template <typename Cell>
inline void attend_patches(const VisionHead<Cell>& head, const PatchRange& tile, int64_t segment_rows, float* scratch) {
    const int64_t dim = head.args.dim;
    float *queries = scratch, *scores = queries + kQueryTile * dim;
    const SoftmaxRows rows(scores + kQueryTile * kKeyBlock, kQueryTile, head.width);
    const F32x16 factor = broadcast(1.0f / std::sqrt(static_cast<float>(dim)));
    for (int64_t i = 0; i < tile.count; ++i) {
        head.turn(tile.first + i, 0, queries + i * dim);
        map(queries + i * dim, queries + i * dim, dim, [&](F32x16 x) { return x * factor; });
        if constexpr (!std::is_same_v<Cell, float>) round_pairs(queries + i * dim, dim, reinterpret_cast<uint32_t*>(queries + i * dim));
    }
    rows.clear(tile.count);
    for (int64_t block = 0; block < tile.block_count; ++block) {
        const int64_t keys = std::min(kKeyBlock, segment_rows - block * kKeyBlock), at = tile.blocks + block;
        packed_score(queries, dim, tile.count, head.block_keys(at), head.depth(), scores);
        for (int64_t i = 0; i < tile.count; ++i) {
            float* row = scores + i * kKeyBlock;
            weigh_scores(rows, i, row, keys);
            if constexpr (!std::is_same_v<Cell, float>) round_pairs(row, round_up(keys, 16), reinterpret_cast<uint32_t*>(row));
        }
        add_values(rows, 0, tile.count, scores, head.block_values(at), (keys + head.kPer - 1) / head.kPer);
    }
    for (int64_t i = 0; i < tile.count; ++i) {
        const F32x16 sum = broadcast(reduce_add(load(rows.sum + i * 16)));
        map(rows.out + i * head.width, head.args.out + ((tile.first + i) * head.args.heads + head.head) * dim, dim,
            [&](F32x16 x) { return x / sum; });
    }
}

template <typename Cell>
inline void vision_attention_in(const VisionAttentionArgs& args, ThreadPool& pool) {
    std::vector<PatchRange> blocks, tiles;
    std::vector<int64_t> segment_rows;  // of each tile
    for (int64_t s = 0; s < args.segments; ++s) {
        const int64_t begin = args.starts[s], end = args.starts[s + 1];
        const int64_t first_block = static_cast<int64_t>(blocks.size()), block_count = (end - begin + kKeyBlock - 1) / kKeyBlock;
        for (int64_t i = begin; i < end; i += kKeyBlock) blocks.push_back({i, std::min(kKeyBlock, end - i), first_block, block_count});
        for (int64_t i = begin; i < end; i += kQueryTile) {
            tiles.push_back({i, std::min(kQueryTile, end - i), first_block, block_count});
            segment_rows.push_back(end - begin);
        }
    }
    const int64_t width = round_up(args.dim, 16), block_count = static_cast<int64_t>(blocks.size());
    const int64_t packed = block_count * kKeyBlock, thread_floats = vision_scratch_floats(args.dim, width);
    const int64_t key_cells = packed * args.dim / VisionHead<Cell>::kPer, value_cells = packed * width / VisionHead<Cell>::kPer;
    const std::unique_ptr<Cell[]> memory(new Cell[key_cells + value_cells]);
    const std::unique_ptr<float[]> scratch_memory(new float[pool.threads() * thread_floats]);
    float* scratch = scratch_memory.get();
    for (int64_t h = 0; h < args.heads; ++h) {
        const VisionHead<Cell> head{args, h, width, memory.get(), memory.get() + key_cells};
        pool.run(block_count, [&](int64_t block, int thread) {
            pack_block(head, blocks[static_cast<size_t>(block)], block, scratch + thread * thread_floats);
        });
        pool.run(static_cast<int64_t>(tiles.size()), [&](int64_t i, int thread) {
            attend_patches(head, tiles[static_cast<size_t>(i)], segment_rows[static_cast<size_t>(i)], scratch + thread * thread_floats);
        });
    }
}

inline void vision_attention(const VisionAttentionArgs& args, ThreadPool& pool) {
    args.rounded ? vision_attention_in<uint32_t>(args, pool) : vision_attention_in<float>(args, pool);
}

}}  // namespace qwill::QWILL_ISA_NS
