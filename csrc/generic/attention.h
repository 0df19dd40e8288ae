// Gated attention over pages of keys and values.
//
// The keys of a sequence are taken in spans of kSpan, each with a softmax of its own, and the spans are merged in order. The
// spans of few tokens with a long past run on different threads; otherwise one thread takes all spans of its tokens. Both do
// the same arithmetic in the same order, so a token's result depends neither on threads nor on the tokens beside it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "formats/half.h"
#include "generic/rms_norm.h"
#include "generic/rotary.h"
#include "generic/softmax_rows.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr int64_t kSpan = 512;     // keys, rounded up to whole pages
constexpr int64_t kTileRows = 64;  // query rows that share one pass over the keys, about

// Consecutive tokens of one sequence. The queries of a kv head's group of heads, for these tokens, are rows (token, head).
struct TokenTile {
    int64_t sequence, first, count;
    int64_t keys;         // that the last token sees
    int64_t part_offset;  // where its spans' results lie, in rows
};

struct AttentionPlan {
    const AttentionArgs& args;
    int64_t group, span;
    float* queries;  // [kv_heads, tokens, group, dim], normalised, turned and scaled

    int64_t spans(const TokenTile& tile) const { return (tile.keys + span - 1) / span; }
    // Keys that a token of the tile sees.
    int64_t keys_of(const TokenTile& tile, int64_t token) const { return tile.keys - tile.count + 1 + token; }
    const float* tile_queries(const TokenTile& tile, int64_t kv_head) const {
        return queries + (kv_head * args.tokens + tile.first) * group * args.dim;
    }
    // Position of a page's row in k_pages and v_pages.
    int64_t page_row(int64_t sequence, int64_t key, int64_t kv_head) const {
        const int64_t page = args.block_tables[sequence * args.max_pages + key / args.page];
        return ((page * args.kv_heads + kv_head) * args.page + key % args.page) * args.dim;
    }
};

// Q8_0: 32 numbers are their greatest magnitude / 127 as a half, then each divided by that, as a signed byte.
constexpr int64_t kPageBlock = 32, kPageBlockBytes = 34;

inline void store_page_block(uint8_t* block, const float* x) {
    const F32x16 low = load(x), high = load(x + 16);
    const float step = reduce_max(max(abs(low), abs(high))) / 127.0f, inverse = step > 0.0f ? 1.0f / step : 0.0f;
    uint16_t halves[16];
    store_f16(halves, broadcast(step));
    std::memcpy(block, halves, 2);
    int8_t codes[kPageBlock];
    store_i8(codes, round_i32(low * broadcast(inverse)));
    store_i8(codes + 16, round_i32(high * broadcast(inverse)));
    std::memcpy(block + 2, codes, kPageBlock);
}

inline void load_page_block(const uint8_t* block, float* out) {
    uint16_t half;
    std::memcpy(&half, block, 2);
    const F32x16 step = broadcast(formats::half_to_float(half));
    store(out, load_s8(block + 2) * step);
    store(out + 16, load_s8(block + 18) * step);
}

// Writes a token's keys and values into their pages and its queries into the plan.
inline void prepare_token(const AttentionPlan& plan, int64_t token) {
    const AttentionArgs& args = plan.args;
    const int64_t dim = args.dim, half = args.rotary / 2;
    const int64_t sequence = std::upper_bound(args.starts, args.starts + args.sequences + 1, token) - args.starts - 1;
    const int64_t position = args.contexts[sequence] + token - args.starts[sequence];
    const float *cos = args.cos + token * half, *sin = args.sin + token * half;
    const std::unique_ptr<float[]> key(new float[dim]);
    const auto write = [&](void* pages, int64_t row, const float* x) {
        switch (args.page_type) {
            case PageType::f32: std::copy(x, x + dim, static_cast<float*>(pages) + row); break;
            case PageType::f16: {
                uint16_t* out = static_cast<uint16_t*>(pages) + row;
                for (int64_t i = 0; i < dim; i += 16) store_f16(out + i, load(x + i));
                break;
            }
            case PageType::q8_0: {
                uint8_t* out = static_cast<uint8_t*>(pages) + row / kPageBlock * kPageBlockBytes;
                for (int64_t i = 0; i < dim; i += kPageBlock) store_page_block(out + i / kPageBlock * kPageBlockBytes, x + i);
                break;
            }
        }
    };
    for (int64_t head = 0; head < args.kv_heads; ++head) {
        const int64_t row = plan.page_row(sequence, position, head), from = (token * args.kv_heads + head) * dim;
        rms_norm_row(args.k + from, args.k_norm, key.get(), dim, args.eps);
        rotate_half(key.get(), cos, sin, half, key.get());
        write(args.k_pages, row, key.get());
        write(args.v_pages, row, args.v + from);
    }
    const F32x16 factor = broadcast(1.0f / std::sqrt(static_cast<float>(dim)));
    for (int64_t head = 0; head < args.heads; ++head) {
        const int64_t kv_head = head / plan.group;
        float* out = plan.queries + ((kv_head * args.tokens + token) * plan.group + head % plan.group) * dim;
        rms_norm_row(args.q_gate + (token * args.heads + head) * 2 * dim, args.q_norm, out, dim, args.eps);
        rotate_half(out, cos, sin, half, out);
        scale(out, dim, factor);
    }
}

// sums[r, key] = the products of query r and a key, not yet added up over the lanes; sums has rows of sixteen.
template <int Rows, int Keys, typename Key>
inline void product_tile(const float* queries, const Key* keys, int64_t dim, F32x16* sums, const Key* ahead) {
    F32x16 acc[Rows][Keys];
    unroll<Rows>([&](auto r) { unroll<Keys>([&](auto k) { acc[r][k] = zero(); }); });
    for (int64_t d = 0; d < dim; d += 16) {
        if (ahead != nullptr) fetch(ahead + d * Keys, 16 * Keys);
        F32x16 key[Keys];
        unroll<Keys>([&](auto k) { key[k] = load_numbers(keys + k * dim + d); });
        unroll<Rows>([&](auto r) {
            const F32x16 query = load(queries + r * dim + d);
            unroll<Keys>([&](auto k) { acc[r][k] = fma(query, key[k], acc[r][k]); });
        });
    }
    unroll<Rows>([&](auto r) { unroll<Keys>([&](auto k) { sums[r * 16 + k] = acc[r][k]; }); });
}

// The scores of sixteen keys. As many rows of `ahead`, if it is not null, are fetched meanwhile, in the order of their addresses.
template <int Rows, typename Key>
inline void score_rows(const float* queries, const Key* keys, int64_t dim, float* scores, const Key* ahead) {
    F32x16 sums[Rows * 16];
    for (int64_t key = 0; key < 16; key += kTile) {
        product_tile<Rows, kTile>(queries, keys + key * dim, dim, sums + key, ahead == nullptr ? nullptr : ahead + key * dim);
    }
    for (int r = 0; r < Rows; ++r) store(scores + r * kKeyBlock, reduce_add16(sums + r * 16));
}

// scores[row, key] = query row . key, for `count` keys, a multiple of sixteen. Sixteen keys stay in the first cache while all
// queries pass over them.
template <typename Key>
inline void score(const float* queries, int64_t rows, const Key* keys, int64_t count, int64_t dim, float* scores, const Key* ahead) {
    for (int64_t key = 0; key < count; key += 16, keys += 16 * dim, scores += 16) {
        const auto ahead_of = [&](int64_t row) { return ahead != nullptr && row == 0 ? ahead + key * dim : nullptr; };
        int64_t row = 0;
        for (; row + kTile <= rows; row += kTile) score_rows<kTile>(queries + row * dim, keys, dim, scores + row * kKeyBlock, ahead_of(row));
        for (; row < rows; ++row) score_rows<1>(queries + row * dim, keys, dim, scores + row * kKeyBlock, ahead_of(row));
    }
}

// A thread's working memory.
struct AttentionScratch {
    float *scores, *rows, *keys;
    static int64_t floats(int64_t rows, int64_t dim) {
        return rows * kKeyBlock + 2 * SoftmaxRows::floats(rows, dim) + kKeyBlock * dim;
    }
    AttentionScratch(float* memory, int64_t tile_rows, int64_t dim)
        : scores(memory), rows(scores + tile_rows * kKeyBlock), keys(rows + 2 * SoftmaxRows::floats(tile_rows, dim)) {}
};

// Rows of a page: where they lie in k_pages or v_pages.
struct PageRows {
    const void* pages;
    int64_t row;
};

// Calls f with `count` rows of a page: floats, and halves for few queries, as they lie there; else converted once for all. With
// them go the rows that are read next, for f to fetch, or null where they are fetched here or queries enough hide the wait.
template <typename F>
inline void with_page(const AttentionArgs& args, PageRows page, PageRows next, int64_t count, int64_t queries, float* scratch, const F& f) {
    const auto numbers = [](auto type, PageRows rows) {
        using Number = decltype(type);
        return rows.pages == nullptr ? nullptr : static_cast<const Number*>(rows.pages) + rows.row;
    };
    const bool few = queries <= 2 * kTile;
    if (args.page_type == PageType::f32) return f(numbers(float{}, page), few ? numbers(float{}, next) : nullptr);
    if (args.page_type == PageType::q8_0) {
        const auto bytes = [](PageRows rows) { return static_cast<const uint8_t*>(rows.pages) + rows.row / kPageBlock * kPageBlockBytes; };
        const uint8_t *blocks = bytes(page), *ahead = next.pages == nullptr ? blocks : bytes(next);
        for (int64_t i = 0; i < count * args.dim; i += kPageBlock) {
            const int64_t place = i / kPageBlock * kPageBlockBytes;
            __builtin_prefetch(ahead + place, 0, 2);
            load_page_block(blocks + place, scratch + i);
        }
        return f(static_cast<const float*>(scratch), static_cast<const float*>(nullptr));
    }
    const uint16_t* halves = numbers(uint16_t{}, page);
    if (few) return f(halves, numbers(uint16_t{}, next));
    for (int64_t i = 0; i < count * args.dim; i += 16) store(scratch + i, load_f16(halves + i));
    f(static_cast<const float*>(scratch), static_cast<const float*>(nullptr));
}

// The tile's attention over one span of keys.
inline void attend_span(const AttentionPlan& plan, const TokenTile& tile, int64_t kv_head, int64_t span,
                        const AttentionScratch& scratch, const SoftmaxRows& rows) {
    const AttentionArgs& args = plan.args;
    const int64_t end = std::min(tile.keys, (span + 1) * plan.span), row_count = tile.count * plan.group;
    const float* queries = plan.tile_queries(tile, kv_head);
    rows.clear(row_count);
    int64_t count;
    for (int64_t key = span * plan.span; key < end; key += count) {
        count = std::min({kKeyBlock, args.page - key % args.page, end - key});
        // Tokens before `first` see none of these keys, tokens from `full` on see all.
        const int64_t first = std::max<int64_t>(0, key + 1 - plan.keys_of(tile, 0));
        const int64_t full = std::max<int64_t>(0, key + count - plan.keys_of(tile, 0));
        const int64_t page_row = plan.page_row(tile.sequence, key, kv_head), padded = round_up(count, 16);
        const int64_t first_row = first * plan.group, live = row_count - first_row;
        const PageRows own_keys{args.k_pages, page_row}, own_values{args.v_pages, page_row};
        const PageRows next_keys = key + count < end ? PageRows{args.k_pages, plan.page_row(tile.sequence, key + count, kv_head)} : PageRows{nullptr, 0};
        with_page(args, own_keys, own_values, padded, live, scratch.keys, [&](auto keys, auto ahead) {
            score(queries + first_row * args.dim, live, keys, padded, args.dim, scratch.scores, ahead);
        });
        for (int64_t row = first_row; row < row_count; ++row) {
            const int64_t valid = std::min(count, plan.keys_of(tile, row / plan.group) - key);
            weigh_scores(rows, row, scratch.scores + (row - first_row) * kKeyBlock, valid);
        }
        with_page(args, own_values, next_keys, count, live, scratch.keys, [&](auto values, auto ahead) {
            for (int64_t token = first; token < full; ++token) {
                const float* weights = scratch.scores + (token - first) * plan.group * kKeyBlock;
                add_values(rows, token * plan.group, plan.group, weights, values, plan.keys_of(tile, token) - key);
            }
            const int64_t full_row = full * plan.group;
            add_values(rows, full_row, row_count - full_row, scratch.scores + (full_row - first_row) * kKeyBlock, values, count, ahead);
        });
    }
    for (int64_t row = 0; row < row_count; ++row) store(rows.sum + row * 16, broadcast(reduce_add(load(rows.sum + row * 16))));
}

// Adds a later span's rows to `total`. Tokens that see none of its keys are left alone.
inline void merge_span(const AttentionPlan& plan, const TokenTile& tile, int64_t span, const SoftmaxRows& part, const SoftmaxRows& total) {
    for (int64_t row = 0; row < tile.count * plan.group; ++row) {
        if (plan.keys_of(tile, row / plan.group) <= span * plan.span) continue;
        const float now = std::max(total.max[row], part.max[row]);
        const F32x16 old_factor = exp(broadcast(total.max[row] - now)), new_factor = exp(broadcast(part.max[row] - now));
        total.max[row] = now;
        store(total.sum + row * 16, fma(load(part.sum + row * 16), new_factor, load(total.sum + row * 16) * old_factor));
        float* out = total.out + row * total.width;
        const float* add = part.out + row * total.width;
        for (int64_t d = 0; d < total.width; d += 16) store(out + d, fma(load(add + d), new_factor, load(out + d) * old_factor));
    }
}

inline void finish_tile(const AttentionPlan& plan, const TokenTile& tile, int64_t kv_head, const SoftmaxRows& rows) {
    const AttentionArgs& args = plan.args;
    for (int64_t row = 0; row < tile.count * plan.group; ++row) {
        const int64_t index = (tile.first + row / plan.group) * args.heads + kv_head * plan.group + row % plan.group;
        const float *x = rows.out + row * args.dim, *gate = args.q_gate + index * 2 * args.dim + args.dim;
        const F32x16 sum = load(rows.sum + row * 16);
        for (int64_t d = 0; d < args.dim; d += 16) store(args.out + index * args.dim + d, load(x + d) / sum * sigmoid(load(gate + d)));
    }
}

inline std::vector<TokenTile> token_tiles(const AttentionArgs& args, int64_t tile_tokens) {
    std::vector<TokenTile> tiles;
    for (int64_t sequence = 0; sequence < args.sequences; ++sequence) {
        const int64_t begin = args.starts[sequence], end = args.starts[sequence + 1];
        for (int64_t first = begin; first < end; first += tile_tokens) {
            const int64_t count = std::min(tile_tokens, end - first);
            tiles.push_back({sequence, first, count, args.contexts[sequence] + first + count - begin, 0});
        }
    }
    return tiles;
}

inline void attention(const AttentionArgs& args, ThreadPool& pool) {
    const int64_t group = args.heads / args.kv_heads, tile_tokens = std::max<int64_t>(1, kTileRows / group);
    const std::unique_ptr<float[]> queries(new float[args.tokens * args.heads * args.dim]);
    const AttentionPlan plan{args, group, round_up(kSpan, args.page), queries.get()};
    for_rows(pool, args.tokens, (args.heads + 2 * args.kv_heads) * args.dim, [&](int64_t token, int) { prepare_token(plan, token); });

    std::vector<TokenTile> tiles = token_tiles(args, tile_tokens);
    const int64_t tile_count = static_cast<int64_t>(tiles.size()), tasks = tile_count * args.kv_heads;
    const int64_t rows = std::min(tile_tokens, args.tokens) * group, row_floats = SoftmaxRows::floats(rows, args.dim);
    const int64_t thread_floats = AttentionScratch::floats(rows, args.dim);
    const std::unique_ptr<float[]> memory(new float[pool.threads() * thread_floats]);
    const auto scratch_of = [&](int thread) { return AttentionScratch(memory.get() + thread * thread_floats, rows, args.dim); };

    int64_t cost = 0;
    bool one_span = true;
    for (const TokenTile& tile : tiles) {
        cost += tile.count * tile.keys * args.heads * args.dim / 2;
        one_span = one_span && plan.spans(tile) == 1;
    }
    if (one_span || tasks >= 4 * pool.threads()) {
        // The last tiles see most keys: they go first, so that threads end together.
        run_tasks(pool, tasks, cost, [&](int64_t task, int thread) {
            const TokenTile& tile = tiles[static_cast<size_t>((tasks - 1 - task) / args.kv_heads)];
            const int64_t kv_head = task % args.kv_heads;
            const AttentionScratch scratch = scratch_of(thread);
            const SoftmaxRows total(scratch.rows, rows, args.dim), part(scratch.rows + row_floats, rows, args.dim);
            attend_span(plan, tile, kv_head, 0, scratch, total);
            for (int64_t span = 1; span < plan.spans(tile); ++span) {
                attend_span(plan, tile, kv_head, span, scratch, part);
                merge_span(plan, tile, span, part, total);
            }
            finish_tile(plan, tile, kv_head, total);
        });
        return;
    }
    struct SpanTask { int64_t tile, kv_head, span; };
    std::vector<SpanTask> span_tasks;
    for (int64_t tile = 0; tile < tile_count; ++tile) {
        tiles[static_cast<size_t>(tile)].part_offset = static_cast<int64_t>(span_tasks.size());
        for (int64_t kv_head = 0; kv_head < args.kv_heads; ++kv_head) {
            for (int64_t span = 0; span < plan.spans(tiles[static_cast<size_t>(tile)]); ++span) span_tasks.push_back({tile, kv_head, span});
        }
    }
    const int64_t span_count = static_cast<int64_t>(span_tasks.size());
    const std::unique_ptr<float[]> parts(new float[span_count * row_floats]);
    const auto part_of = [&](int64_t task) { return SoftmaxRows(parts.get() + task * row_floats, rows, args.dim); };
    pool.run(span_count, [&](int64_t task, int thread) {
        const SpanTask& item = span_tasks[static_cast<size_t>(task)];
        attend_span(plan, tiles[static_cast<size_t>(item.tile)], item.kv_head, item.span, scratch_of(thread), part_of(task));
    });
    run_tasks(pool, tasks, span_count * row_floats, [&](int64_t task, int) {
        const TokenTile& tile = tiles[static_cast<size_t>(task / args.kv_heads)];
        const int64_t kv_head = task % args.kv_heads, spans = plan.spans(tile), first = tile.part_offset + kv_head * spans;
        for (int64_t span = 1; span < spans; ++span) merge_span(plan, tile, span, part_of(first + span), part_of(first));
        finish_tile(plan, tile, kv_head, part_of(first));
    });
}

}}  // namespace qwill::QWILL_ISA_NS
