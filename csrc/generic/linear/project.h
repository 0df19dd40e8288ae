// Projections: activations into tiles once, then one job over the panels of all weights.
#pragma once

#include "generic/linear/types.h"
#include "generic/math.h"
#include "generic/rms_norm.h"

namespace qwill { namespace QWILL_ISA_NS {

// Activations of a block of tokens that is multiplied by one panel after another, two bytes a value, of which half are read
// again and again and should stay in a core's own cache.
constexpr int64_t kBlockBytes = 1024 << 10;

// Panels in one task: enough tasks to even out unequal threads, few enough that a panel's neighbours stay in one thread.
inline int64_t panels_per_task(int64_t panels, const ThreadPool& pool) {
    const int64_t tasks = static_cast<int64_t>(pool.threads()) * 8;
    return pool.threads() == 1 ? panels : (panels + tasks - 1) / tasks;
}
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline void add_forms(Forms& forms, const Weight& weight) {
    switch (type_kernels(weight.type).form) {
        case Form::values: forms.values = true; break;
        case Form::quantized: forms.quantized = true; break;
        case Form::coarse: forms.coarse = true; break;
        case Form::pairs: forms.pairs = true; break;
    }
}
inline int64_t tiles_per_block(int64_t columns) {
    const int64_t tiles = kBlockBytes / (columns * kTileTokens * 2);
    return tiles > 1 ? tiles : 1;
}

// The products of a tile with a panel.
struct alignas(64) TileProducts {
    float values[kTileTokens * kPanelRows];
};

// Where a packed panel lies; "behind" the last one, most likely, what is read next.
inline const uint8_t* panel_address(const Weight& weight, int64_t expert, int64_t panel) {
    return weight.parts[static_cast<size_t>(expert)] + panel * weight.panel_bytes;
}

// Fetches part `i` of `parts` into the second cache.
inline void fetch_part(const uint8_t* data, int64_t bytes, int64_t i, int64_t parts) {
    for (int64_t at = bytes * i / parts / 64 * 64; at < bytes * (i + 1) / parts; at += 64) __builtin_prefetch(data + at, 0, 2);
}

// Calls body(panel, tile, products [tokens][16]) for panels [first, last) and all tiles, a block of tiles at a time. What
// lies at `after` is read next.
template <typename Body>
inline void over_panels(const Weight& weight, int64_t expert, int64_t first, int64_t last, const uint8_t* after, const Tile* tiles,
                        int64_t count, float* scratch, const Body& body) {
    const bool packed = weight.panel_bytes != 0;
    const int64_t step = packed ? tiles_per_block(weight.columns) : count;  // decoding is done once for all tiles
    TileProducts out;
    for (int64_t block = 0; block < count; block += step) {
        const int64_t end = block + step < count ? block + step : count;
        for (int64_t p = first; p < last; ++p) {
            Panel panel(weight, expert, p, scratch);
            panel.unfold(end - block, scratch);
            const uint8_t* next = !packed ? nullptr : p + 1 < last ? panel_address(weight, expert, p + 1) : after;
            for (int64_t i = block; i < end; ++i) {
                if (panel.unfolded()) fetch_part(next, weight.panel_bytes, i - block, end - block);
                panel.fetch(i == 0 ? next : nullptr);  // later the panel is near, and so is the next
                panel.multiply(tiles[i], out.values);
                body(p, tiles[i], out.values);
            }
        }
    }
}

inline F32x16 activate(F32x16 x, Activation activation) {
    const F32x16 one = broadcast(1.0f);
    switch (activation) {
        case Activation::none: break;
        case Activation::silu: return silu(x);
        case Activation::gelu_tanh: {  // (1 + tanh u) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
            const F32x16 inner = fma(x * x * x, broadcast(0.044715f), x);
            return x * sigmoid(inner * broadcast(1.5957691216f));
        }
        case Activation::gelu: {
            // x Phi(x). 1 - Phi(|x|) by Abramowitz and Stegun 7.1.26, |error| <= 7.5e-8.
            const F32x16 z = abs(x) * broadcast(0.70710678f);
            const F32x16 t = one / fma(z, broadcast(0.3275911f), one);
            F32x16 p = fma(t, broadcast(1.061405429f), broadcast(-1.453152027f));
            p = fma(p, t, broadcast(1.421413741f));
            p = fma(p, t, broadcast(-0.284496736f));
            p = fma(p, t, broadcast(0.254829592f));
            const F32x16 tail = p * t * exp(zero() - z * z) * broadcast(0.5f);
            // x > 0: x - x tail; x < 0: x tail.
            return max(x, zero()) - abs(x) * tail;
        }
    }
    return x;
}

// Rows `row`.. of out[t] from a panel's result for token t.
inline void finish_row(const Projection& projection, int64_t token, int64_t row, F32x16 value) {
    const int64_t rows = projection.weight->rows, n = rows - row < kPanelRows ? rows - row : kPanelRows;
    float* out = projection.out + token * rows + row;
    __builtin_prefetch(out + kTileTokens * rows, 1);  // the next tile's: a row is too far from the last for the processor to foresee
    const bool whole = n == kPanelRows;
    if (projection.bias != nullptr) {
        const float* bias = projection.bias + row;
        value = value + (whole ? load(bias) : load_first(bias, n));
    }
    value = activate(value, projection.activation);
    if (projection.add) value = value + (whole ? load(out) : load_first(out, n));
    whole ? store(out, value) : store_first(out, value, n);
}

// RMSNorm of the tokens into `normed` [tokens, columns] when there is one, and all tokens into tiles.
inline void prepare(const float* x, const float* norm, float eps, int64_t tokens, int64_t columns, Forms forms, float* normed,
                    Tile* tiles, ThreadPool& pool, Workspace& workspace) {
    plan_tiles(tokens, columns, forms, workspace, tiles);
    run_tasks(pool, tile_count(tokens), kFillCost * tokens * columns, [&](int64_t i, int) {
        const int64_t first = tiles[i].first;
        const float* rows = x;
        if (norm != nullptr) {
            for (int64_t t = first; t < first + tiles[i].tokens; ++t) {
                rms_norm_row(x + t * columns, norm, normed + t * columns, columns, eps);
            }
            rows = normed;
        }
        fill_tile(tiles[i], columns, [&](int t) { return rows + (first + t) * columns; });
    });
}

// All tiles times all weights, in one job over the panels.
inline void project(const Projection* projections, int64_t weights, const Tile* tiles, int64_t count, ThreadPool& pool,
                    Workspace& workspace) {
    int64_t panels = 0, scratch_size = 0;
    for (int64_t i = 0; i < weights; ++i) {
        const int64_t size = Panel::scratch_size(*projections[i].weight);
        scratch_size = size > scratch_size ? size : scratch_size;
        panels += projections[i].weight->panels();
    }
    float* scratch = workspace.take<float>(scratch_size * pool.threads());
    const int64_t step = panels_per_task(panels, pool);
    pool.run(ceil_div(panels, step), [&](int64_t task, int thread) {
        int64_t first = task * step, last = first + step < panels ? first + step : panels;
        for (int64_t i = 0; i < weights && first < last; ++i) {
            const Projection& projection = projections[i];
            const int64_t own = projection.weight->panels(), end = last < own ? last : own;
            if (first < own) {
                over_panels(*projection.weight, 0, first, end, panel_address(*projection.weight, 0, end), tiles, count,
                            scratch + thread * scratch_size, [&](int64_t p, const Tile& tile, const float* products) {
                    for (int t = 0; t < tile.tokens; ++t) {
                        finish_row(projection, tile.first + t, p * kPanelRows, load(products + kPanelRows * t));
                    }
                });
            }
            first = first > own ? first - own : 0;
            last -= own;
        }
    });
}

inline void linear(const LinearArgs& args, ThreadPool& pool, Workspace& workspace) {
    workspace.reset();
    const int64_t columns = args.projections[0].weight->columns;
    Forms forms;
    for (int64_t i = 0; i < args.count; ++i) add_forms(forms, *args.projections[i].weight);
    float* normed = args.norm != nullptr ? workspace.take<float>(args.tokens * columns) : nullptr;
    Tile* tiles = workspace.take<Tile>(tile_count(args.tokens));
    prepare(args.x, args.norm, args.eps, args.tokens, columns, forms, normed, tiles, pool, workspace);
    project(args.projections, args.count, tiles, tile_count(args.tokens), pool, workspace);
}

}}  // namespace qwill::QWILL_ISA_NS
