// Attention of image patches: every patch of a segment sees all others of it.
//
// One head at a time: its keys, turned, are laid out in blocks of kKeyBlock with the keys side by side, so that scores need no
// sums over lanes; its values beside them with rows padded to whole vectors. Then tiles of queries run over the blocks.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "generic/rotary.h"
#include "generic/softmax_rows.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr int64_t kQueryTile = 32;

// A block of one segment's keys, or a tile of its queries.
struct PatchRange {
    int64_t first, count;      // rows
    int64_t blocks, block_count;  // the segment's blocks of keys: first one and how many
};

struct VisionHead {
    const VisionAttentionArgs& args;
    int64_t head, width;  // width: dim rounded up to whole vectors
    float* keys;          // [blocks, dim, kKeyBlock]
    float* values;        // [blocks, kKeyBlock, width]

    const float* row(int64_t token, int64_t part) const {
        return args.qkv + ((token * 3 + part) * args.heads + head) * args.dim;
    }
    void turn(int64_t token, int64_t part, float* out) const {
        const int64_t half = args.dim / 2;
        rotate_half(row(token, part), args.cos + token * half, args.sin + token * half, half, out);
    }
};

// Rows past the segment's end stay zero: their scores are masked and their values weigh nothing.
inline void pack_block(const VisionHead& head, const PatchRange& range, int64_t block) {
    const int64_t dim = head.args.dim;
    float* keys = head.keys + block * dim * kKeyBlock;
    float* values = head.values + block * kKeyBlock * head.width;
    std::fill(keys, keys + dim * kKeyBlock, 0.0f);
    std::fill(values, values + kKeyBlock * head.width, 0.0f);
    const std::unique_ptr<float[]> turned(new float[dim]);
    for (int64_t i = 0; i < range.count; ++i) {
        head.turn(range.first + i, 1, turned.get());
        for (int64_t d = 0; d < dim; ++d) keys[d * kKeyBlock + i] = turned[d];
        std::copy(head.row(range.first + i, 2), head.row(range.first + i, 2) + dim, values + i * head.width);
    }
}

// scores[r, 16 j...] = query r . the keys, for Rows rows and Vectors vectors of keys
template <int Rows, int Vectors>
inline void packed_score_tile(const float* queries, const float* keys, int64_t dim, float* scores) {
    F32x16 sums[Rows][Vectors];
    unroll<Rows>([&](auto r) { unroll<Vectors>([&](auto j) { sums[r][j] = zero(); }); });
    for (int64_t d = 0; d < dim; ++d) {
        F32x16 key[Vectors];
        unroll<Vectors>([&](auto j) { key[j] = load(keys + d * kKeyBlock + 16 * j); });
        unroll<Rows>([&](auto r) {
            const F32x16 query = broadcast(queries[r * dim + d]);
            unroll<Vectors>([&](auto j) { sums[r][j] = fma(query, key[j], sums[r][j]); });
        });
    }
    unroll<Rows>([&](auto r) { unroll<Vectors>([&](auto j) { store(scores + r * kKeyBlock + 16 * j, sums[r][j]); }); });
}

inline void packed_score(const float* queries, int64_t rows, const float* keys, int64_t dim, float* scores) {
    for (int64_t k = 0; k < kKeyBlock; k += 16 * kTile) {
        int64_t row = 0;
        for (; row + kTile <= rows; row += kTile) {
            packed_score_tile<kTile, kTile>(queries + row * dim, keys + k, dim, scores + row * kKeyBlock + k);
        }
        for (; row < rows; ++row) packed_score_tile<1, kTile>(queries + row * dim, keys + k, dim, scores + row * kKeyBlock + k);
    }
}

inline int64_t vision_scratch_floats(int64_t dim, int64_t width) {
    return kQueryTile * (dim + kKeyBlock) + SoftmaxRows::floats(kQueryTile, width);
}

inline void attend_patches(const VisionHead& head, const PatchRange& tile, int64_t segment_rows, float* scratch) {
    const int64_t dim = head.args.dim;
    float *queries = scratch, *scores = queries + kQueryTile * dim;
    const SoftmaxRows rows(scores + kQueryTile * kKeyBlock, kQueryTile, head.width);
    const F32x16 factor = broadcast(1.0f / std::sqrt(static_cast<float>(dim)));
    for (int64_t i = 0; i < tile.count; ++i) {
        head.turn(tile.first + i, 0, queries + i * dim);
        map(queries + i * dim, queries + i * dim, dim, [&](F32x16 x) { return x * factor; });
    }
    rows.clear(tile.count);
    for (int64_t block = 0; block < tile.block_count; ++block) {
        const int64_t keys = std::min(kKeyBlock, segment_rows - block * kKeyBlock), at = tile.blocks + block;
        packed_score(queries, tile.count, head.keys + at * dim * kKeyBlock, dim, scores);
        for (int64_t i = 0; i < tile.count; ++i) weigh_scores(rows, i, scores + i * kKeyBlock, keys);
        add_values(rows, 0, tile.count, scores, head.values + at * kKeyBlock * head.width, keys);
    }
    for (int64_t i = 0; i < tile.count; ++i) {
        const F32x16 sum = broadcast(reduce_add(load(rows.sum + i * 16)));
        map(rows.out + i * head.width, head.args.out + ((tile.first + i) * head.args.heads + head.head) * dim, dim,
            [&](F32x16 x) { return x / sum; });
    }
}

inline void vision_attention(const VisionAttentionArgs& args, ThreadPool& pool) {
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
    const std::unique_ptr<float[]> memory(new float[packed * (args.dim + width) + pool.threads() * thread_floats]);
    float *values = memory.get() + packed * args.dim, *scratch = values + packed * width;
    for (int64_t h = 0; h < args.heads; ++h) {
        const VisionHead head{args, h, width, memory.get(), values};
        pool.run(block_count, [&](int64_t block, int) { pack_block(head, blocks[static_cast<size_t>(block)], block); });
        pool.run(static_cast<int64_t>(tiles.size()), [&](int64_t i, int thread) {
            attend_patches(head, tiles[static_cast<size_t>(i)], segment_rows[static_cast<size_t>(i)], scratch + thread * thread_floats);
        });
    }
}

}}  // namespace qwill::QWILL_ISA_NS
