// Attention by blocks of keys: what text and vision attention share.
//
// A row is one query. Its softmax is taken online: each block of keys raises the running maximum if it must, rescales what
// was summed so far, and adds its own part. Blocks come in a fixed order, and within one the keys do, so a row's result
// does not depend on the rows beside it.
#pragma once

#include <algorithm>
#include <limits>

#include "generic/math.h"
#include "generic/rows.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr int64_t kKeyBlock = 64;  // keys whose scores are held at a time
// Rows, and vectors of keys or of outputs, that one inner loop keeps in registers.
constexpr int kTile = kRegisters == 32 ? 4 : 2;

// Running results of some rows, all over the keys seen so far.
struct SoftmaxRows {
    float* max;  // [rows]
    float* sum;  // [rows, 16], the row's sum spread over sixteen lanes
    float* out;  // [rows, width]: values weighted by e^(score - max)
    int64_t width;

    static int64_t floats(int64_t rows, int64_t width) { return rows * (width + 17); }
    SoftmaxRows(float* memory, int64_t rows, int64_t width)
        : max(memory + rows * (width + 16)), sum(memory + rows * width), out(memory), width(width) {}

    void clear(int64_t rows) const {
        std::fill(max, max + rows, -std::numeric_limits<float>::infinity());
        std::fill(sum, sum + rows * 16, 0.0f);
        std::fill(out, out + rows * width, 0.0f);
    }
};

inline void scale(float* x, int64_t n, F32x16 factor) {
    for (int64_t i = 0; i < n; i += 16) store(x + i, load(x + i) * factor);
}

// Turns a row's scores, of which the first `valid` > 0 count, into weights under the new maximum. Scores past `valid`, up to
// the next multiple of sixteen, become 0.
inline void weigh_scores(const SoftmaxRows& rows, int64_t row, float* scores, int64_t valid) {
    const int64_t count = round_up(valid, 16);
    std::fill(scores + valid, scores + count, -std::numeric_limits<float>::infinity());
    F32x16 top = load(scores);
    for (int64_t i = 16; i < count; i += 16) top = max(top, load(scores + i));
    const float before = rows.max[row], now = std::max(before, reduce_max(top));
    const F32x16 shift = broadcast(now);
    F32x16 sum = load(rows.sum + row * 16);
    if (now > before) {
        const F32x16 factor = exp(broadcast(before) - shift);
        rows.max[row] = now;
        sum = sum * factor;
        scale(rows.out + row * rows.width, rows.width, factor);
    }
    for (int64_t i = 0; i < count; i += 16) {
        const F32x16 weight = exp(load(scores + i) - shift);
        store(scores + i, weight);
        sum = sum + weight;
    }
    store(rows.sum + row * 16, sum);
}

// Keys and values as they lie in a page, or as converted; pairs of BF16 where two neighbours of a sum are taken together.
inline F32x16 load_numbers(const float* p) { return load(p); }
inline F32x16 load_numbers(const uint16_t* p) { return load_f16(p); }
inline BF16Pairs load_numbers(const uint32_t* p) { return load_pairs(p); }

// What such numbers are multiplied by, and the sum of the products.
inline F32x16 broadcast_for(F32x16, const float* x) { return broadcast(*x); }
inline BF16Pairs broadcast_for(BF16Pairs, const float* x) { return broadcast_pair(reinterpret_cast<const uint32_t*>(x)); }
inline F32x16 add_products(F32x16 factor, F32x16 numbers, F32x16 sum) { return fma(factor, numbers, sum); }
inline F32x16 add_products(BF16Pairs factor, BF16Pairs numbers, F32x16 sum) { return dot2(sum, numbers, factor); }

// Asks for the cache lines of `count` numbers. Few queries wait for their keys and values, which lie in pages that no processor
// looks ahead to by itself.
template <typename Number>
inline void fetch(const Number* numbers, int64_t count) {
    constexpr int64_t line = 64 / sizeof(Number);
    for (int64_t i = 0; i < count; i += line) __builtin_prefetch(numbers + i, 0, 2);
}

// out[row] += sum over keys of weights[row, key] * values[key], for Rows rows and Vectors vectors of their width. With pairs a
// "key" is two of them. As many numbers of `ahead`, if it is not null, are fetched meanwhile: in the order of their addresses, which
// the processor then follows by itself, not in the order in which they will be used.
template <int Rows, int Vectors, typename Value>
inline void add_values_tile(const float* weights, const Value* values, int64_t keys, float* out, int64_t width, const Value* ahead) {
    F32x16 sums[Rows][Vectors];
    unroll<Rows>([&](auto r) { unroll<Vectors>([&](auto j) { sums[r][j] = load(out + r * width + 16 * j); }); });
    for (int64_t key = 0; key < keys; ++key) {
        if (ahead != nullptr) fetch(ahead + key * 16 * Vectors, 16 * Vectors);
        decltype(load_numbers(values)) value[Vectors];
        unroll<Vectors>([&](auto j) { value[j] = load_numbers(values + key * width + 16 * j); });
        unroll<Rows>([&](auto r) {
            const auto weight = broadcast_for(value[0], weights + r * kKeyBlock + key);
            unroll<Vectors>([&](auto j) { sums[r][j] = add_products(weight, value[j], sums[r][j]); });
        });
    }
    unroll<Rows>([&](auto r) { unroll<Vectors>([&](auto j) { store(out + r * width + 16 * j, sums[r][j]); }); });
}

// The same for `count` rows from `first` on. weights [count, kKeyBlock], values [keys, width], width a multiple of sixteen.
// A few columns of some keys stay in the first cache while all rows pass over them.
template <int Vectors, typename Value>
inline void add_values_columns(const SoftmaxRows& rows, int64_t first, int64_t count, const float* weights, const Value* values,
                               int64_t keys, int64_t column, const Value* ahead) {
    float* out = rows.out + first * rows.width + column;
    const auto ahead_of = [&](int64_t row) { return ahead != nullptr && row == 0 ? ahead + column * keys : nullptr; };
    int64_t row = 0;
    for (; row + kTile <= count; row += kTile) {
        add_values_tile<kTile, Vectors>(weights + row * kKeyBlock, values + column, keys, out + row * rows.width, rows.width, ahead_of(row));
    }
    for (; row < count; ++row) {
        add_values_tile<1, Vectors>(weights + row * kKeyBlock, values + column, keys, out + row * rows.width, rows.width, ahead_of(row));
    }
}

template <typename Value>
inline void add_values(const SoftmaxRows& rows, int64_t first, int64_t count, const float* weights, const Value* values, int64_t keys,
                       const Value* ahead = nullptr) {
    constexpr int64_t kKeys = 32;
    for (int64_t key = 0; key < keys; key += kKeys) {
        const Value *some = values + key * rows.width, *some_ahead = ahead == nullptr ? nullptr : ahead + key * rows.width;
        const int64_t some_keys = std::min(kKeys, keys - key);
        int64_t d = 0;
        if (kRegisters == 32 && rows.width == 16 * (kTile + 1)) {  // a vector alone would wait for its own sums
            add_values_columns<kTile + 1>(rows, first, count, weights + key, some, some_keys, d, some_ahead);
            continue;
        }
        for (; d + 16 * kTile <= rows.width; d += 16 * kTile) add_values_columns<kTile>(rows, first, count, weights + key, some, some_keys, d, some_ahead);
        for (; d < rows.width; d += 16) add_values_columns<1>(rows, first, count, weights + key, some, some_keys, d, some_ahead);
    }
}

}}  // namespace qwill::QWILL_ISA_NS
