// Activations as the tile kernels read them.
//
// Tokens go in tiles of kTileTokens, and what is left in a smaller one. Within a tile the tokens' values lie side by side
// for every column, so that a kernel walks a single pointer. A tile holds floats, BF16 pairs, int8 with a scale for every 32 or
// every 128 columns, or several of these.
#pragma once

#include <algorithm>
#include <cstring>

#include "generic/linear/quantize.h"
#include "generic/linear/tile_sizes.h"
#include "generic/rows.h"
#include "generic/unroll.h"
#include "linear.h"
#include "threads.h"

namespace qwill { namespace QWILL_ISA_NS {

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
    const float* rows[kTileTokens];
    for (int t = 0; t < tile.tokens; ++t) rows[t] = row(t);
    if (tile.quantized != nullptr) quantize_rows<32>(rows, columns, {tile.quantized, columns, tile.tokens});
    if (tile.coarse != nullptr) quantize_rows<128>(rows, columns, {tile.coarse, columns, tile.tokens});
    for (int t = 0; t < tile.tokens; ++t) {
        const float* x = rows[t];
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
