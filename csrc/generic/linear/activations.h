// Activations as the tile kernels read them.
//
// Tokens go in tiles of kTileTokens, and what is left in a smaller one. Within a tile the tokens' values lie side by side
// for every column, so that a kernel walks a single pointer. Full tiles are multiplied by kTilePanels panels at once. A tile
// holds floats, BF16 pairs, int8 with a scale for every 32 or every 128 columns, or several of these.
#pragma once

#include <algorithm>
#include <cstring>

#include "generic/math.h"
#include "generic/rms_norm.h"
#include "generic/rows.h"
#include "generic/unroll.h"
#include "linear.h"
#include "threads.h"

namespace qwill { namespace QWILL_ISA_NS {

// Full tiles from which two panels are unfolded first (unfolded.h); 0: never.
#if defined(__AVX512F__)
constexpr int kTileTokens = 4, kTilePanels = 2, kUnfoldTiles = 12;
#elif defined(__AVX2__)
constexpr int kTileTokens = 4, kTilePanels = 1, kUnfoldTiles = 12;
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr int kTileTokens = 4, kTilePanels = 1, kUnfoldTiles = 0;
#else
constexpr int kTileTokens = 2, kTilePanels = 1, kUnfoldTiles = 0;
#endif

// value = scale * quant, |quant| <= 127, with a scale for every kScaled columns. A row of an array holds the tile's tokens.
template <int kScaled>
struct QuantizedTile {
    int32_t* quants;           // [columns / 4], four int8 in each
    int32_t *bias16, *bias32;  // [columns / 16], [columns / 32]: -128 * sum of the quants
    float *sum16, *sum32;      // [columns / 16], [columns / 32]: sum of the quants
    float* scale;              // [columns / kScaled]

    QuantizedTile(int32_t* memory, int64_t columns, int64_t tokens)
        : quants(memory), bias16(quants + columns / 4 * tokens), bias32(bias16 + columns / 16 * tokens),
          sum16(reinterpret_cast<float*>(bias32 + columns / 32 * tokens)), sum32(sum16 + columns / 16 * tokens),
          scale(sum32 + columns / 32 * tokens) {}
    static int64_t words(int64_t columns, int64_t tokens) { return (columns / 32 * 14 + columns / kScaled) * tokens; }
};

struct Tile {
    int tokens;
    int64_t first;        // its first token
    const float* values;  // [columns][tokens], null unless a weight needs it
    int32_t* quantized;   // QuantizedTile<32>, null unless a weight needs it
    int32_t* coarse;      // QuantizedTile<128>, likewise
    uint32_t* pairs;      // [pairs of columns][tokens], two BF16 each, null unless a weight needs it
};

// Sixteen rows of a packed weight.
struct PanelData {
    const uint8_t* data;
    const float* scales;  // FP8: one for each 128 columns; else null
    const uint8_t* next;  // what is read after this panel and is to be fetched meanwhile; null: this one was read before, too
};

// What is fetched while values [first, end) of a panel's `count` are multiplied: as many of the next panel, where the whole of it
// is fetched (integer_tile.h says when), or else what follows them.
template <bool whole, typename Stored>
QWILL_INLINE inline const Stored* fetched_values(const PanelData& panel, int64_t first, int64_t end, int64_t count) {
    const auto* next = reinterpret_cast<const Stored*>(panel.next);
    if (whole) return next != nullptr ? next + first : nullptr;
    return end < count ? reinterpret_cast<const Stored*>(panel.data) + end : next;
}

// Which forms of the activations a set of weights reads.
struct Forms {
    bool values = false, quantized = false, coarse = false, pairs = false;
};

// Below this largest magnitude values count as zero: 127 / magnitude must stay finite.
constexpr float kSmallestMagnitude = 1e-30f;

// Puts row x into a tile as token t.
template <int kScaled>
inline void quantize_row(const float* x, int64_t columns, const QuantizedTile<kScaled>& tile, int64_t tokens, int64_t t) {
    F32x16 inverse;
    for (int64_t block = 0; block < columns / 32; ++block) {
        if (block % (kScaled / 32) == 0) {
            F32x16 largest = zero();
            unroll<kScaled / 16>([&](auto i) QWILL_INLINE { largest = max(largest, abs(load(x + 32 * block + 16 * i))); });
            const float magnitude = reduce_max(largest);
            const bool tiny = magnitude < kSmallestMagnitude;
            inverse = broadcast(tiny ? 0.0f : 127.0f / magnitude);
            tile.scale[block / (kScaled / 32) * tokens + t] = tiny ? 0.0f : magnitude / 127.0f;
        }
        const F32x16 first = load(x + 32 * block), second = load(x + 32 * block + 16);
        const I32x16 first_quants = round_i32(first * inverse), second_quants = round_i32(second * inverse);
        int8_t quants[32];
        store_i8(quants, first_quants);
        store_i8(quants + 16, second_quants);
        int32_t* out = tile.quants + 8 * block * tokens + t;
        for (int group = 0; group < 8; ++group) std::memcpy(out + group * tokens, quants + 4 * group, 4);
        const int32_t first_sum = reduce_add(first_quants), second_sum = reduce_add(second_quants);
        const int64_t at = block * tokens + t, first_at = 2 * block * tokens + t, second_at = first_at + tokens;
        tile.bias16[first_at] = -128 * first_sum;
        tile.bias16[second_at] = -128 * second_sum;
        tile.bias32[at] = -128 * (first_sum + second_sum);
        tile.sum16[first_at] = static_cast<float>(first_sum);
        tile.sum16[second_at] = static_cast<float>(second_sum);
        tile.sum32[at] = static_cast<float>(first_sum + second_sum);
    }
}

// Rounds row x to BF16, pair i to out[i * stride]; an odd last column's neighbour is zero.
inline void round_row(const float* x, int64_t columns, uint32_t* out, int64_t stride) {
    uint32_t pairs[8];
    int64_t k = 0;
    for (; k + 16 <= columns; k += 16) {
        store_bf16(reinterpret_cast<uint16_t*>(pairs), load(x + k));
        for (int i = 0; i < 8; ++i) out[(k / 2 + i) * stride] = pairs[i];
    }
    if (k == columns) return;
    store_bf16(reinterpret_cast<uint16_t*>(pairs), load_first(x + k, columns - k));
    for (int i = 0; k + 2 * i < columns; ++i) out[(k / 2 + i) * stride] = pairs[i];
}

// How many tiles `count` tokens make: whole ones, and one for the rest.
inline int64_t tile_count(int64_t count) { return (count + kTileTokens - 1) / kTileTokens; }

// Splits `count` tokens into tile_count(count) tiles at `tiles` and takes their memory.
inline void plan_tiles(int64_t count, int64_t columns, Forms forms, Workspace& workspace, Tile* tiles) {
    for (int64_t first = 0; first < count; first += kTileTokens, ++tiles) {
        const int64_t size = std::min<int64_t>(kTileTokens, count - first);
        tiles->tokens = static_cast<int>(size);
        tiles->first = first;
        tiles->values = forms.values ? workspace.take<float>(columns * size) : nullptr;
        tiles->quantized = forms.quantized ? workspace.take<int32_t>(QuantizedTile<32>::words(columns, size)) : nullptr;
        tiles->coarse = forms.coarse ? workspace.take<int32_t>(QuantizedTile<128>::words(columns, size)) : nullptr;
        tiles->pairs = forms.pairs ? workspace.take<uint32_t>((columns + 1) / 2 * size) : nullptr;
    }
}

constexpr int64_t kFillCost = 8;  // of a value that enters a tile

// Fills a planned tile; row(t) is the address of its token t's values.
template <typename Row>
inline void fill_tile(const Tile& tile, int64_t columns, const Row& row) {
    float* values = const_cast<float*>(tile.values);
    for (int t = 0; t < tile.tokens; ++t) {
        const float* x = row(t);
        if (tile.quantized != nullptr) quantize_row<32>(x, columns, {tile.quantized, columns, tile.tokens}, tile.tokens, t);
        if (tile.coarse != nullptr) quantize_row<128>(x, columns, {tile.coarse, columns, tile.tokens}, tile.tokens, t);
        if (tile.pairs != nullptr) round_row(x, columns, tile.pairs + t, tile.tokens);
        if (values == nullptr) continue;
        if (tile.tokens == 1) {
            std::memcpy(values, x, static_cast<size_t>(columns) * sizeof(float));
        } else {
            for (int64_t k = 0; k < columns; ++k) values[k * tile.tokens + t] = x[k];
        }
    }
}

}}  // namespace qwill::QWILL_ISA_NS
