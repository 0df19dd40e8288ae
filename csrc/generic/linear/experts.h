// Gated feed-forward networks: one dense one, or many of which each token uses a few.
//
// Tokens are grouped by expert, so that a panel of weights is read once for all tokens that need it. Each token's sum runs
// over its experts in ascending order, the shared one last, whatever else is in the batch.
#pragma once

#include <algorithm>
#include <vector>

#include "generic/linear/project.h"

namespace qwill { namespace QWILL_ISA_NS {

// The slots (token, factor) that one expert computes.
struct Group {
    int64_t expert, first, count;
    int64_t first_tile, tiles;
};

// Networks of one shape with their groups.
struct Stage {
    const Experts* mlp;
    const Group* groups;
    int64_t group_count;
    const int32_t* tokens;  // of every slot, null: slot i is token i
    const float* factors;   // of every slot, null: 1
    int64_t slots;
    const Tile* inputs;  // tiles of every group
    Tile* hidden_tiles;
    float* hidden;  // [slots, intermediate]

    // What is read after panels up to `last` of a group: those of the next group from `first` on.
    const uint8_t* after(const Weight& weight, const Group& group, int64_t first, int64_t last) const {
        const bool is_last = &group + 1 == groups + group_count;
        return is_last ? panel_address(weight, group.expert, last) : panel_address(weight, (&group + 1)->expert, first);
    }
    int64_t token(int64_t slot) const { return tokens != nullptr ? tokens[slot] : slot; }
};

// Panels [first, last) of a group's gate and up matrices. They lie one behind the other: going through a few panels of every
// expert in turn is a quarter slower, because a jump in memory costs as much as reading many kilobytes.
struct PanelRange {
    const Stage* stage;
    const Group* group;
    int64_t first, last;
};

// hidden = silu(gate n) * (up n) for the panels of a group: many of gate and then as many of up, for a jump from one matrix to
// the other costs as much, but no more than leave what gate gave in the cache.
inline void gate_and_up(const PanelRange& range, float* scratch) {
    constexpr int64_t kNearValues = 32 << 10;  // of gate, floats
    const Stage& stage = *range.stage;
    const Group& group = *range.group;
    const Weight &gate = *stage.mlp->gate, &up = *stage.mlp->up;
    const Tile* tiles = stage.inputs + group.first_tile;
    const int64_t step = std::max<int64_t>(1, kNearValues / kPanelRows / group.count);
    const auto over_hidden = [&](int64_t p, const Tile& tile, const float* products, auto value) {
        const int64_t row = p * kPanelRows, n = std::min(gate.rows - row, kPanelRows);
        for (int t = 0; t < tile.tokens; ++t) {
            float* out = stage.hidden + (group.first + tile.first + t) * gate.rows + row;
            if (n == kPanelRows) store(out, value(load(products + kPanelRows * t), load(out)));
            else store_first(out, value(load(products + kPanelRows * t), load_first(out, n)), n);
        }
    };
    for (int64_t first = range.first; first < range.last; first += step) {
        const int64_t last = std::min(first + step, range.last);
        const uint8_t* after = last < gate.panels() ? panel_address(gate, group.expert, last) : stage.after(gate, group, 0, last);
        over_panels(gate, group.expert, first, last, panel_address(up, group.expert, first), tiles, group.tiles, scratch,
                    [&](int64_t p, const Tile& tile, const float* products) {
            over_hidden(p, tile, products, [](F32x16 product, F32x16) { return product; });
        });
        over_panels(up, group.expert, first, last, after, tiles, group.tiles, scratch,
                    [&](int64_t p, const Tile& tile, const float* products) {
            over_hidden(p, tile, products, [](F32x16 product, F32x16 gates) { return silu(gates) * product; });
        });
    }
}

// sum[token] += factor * down(hidden) for panels [first, last) of every group; `sum` has whole panels in a row.
inline void add_down(const Stage& stage, int64_t first, int64_t last, float* sum, float* scratch) {
    const Weight& down = *stage.mlp->down;
    const int64_t width = down.panels() * kPanelRows;
    for (int64_t g = 0; g < stage.group_count; ++g) {
        const Group& group = stage.groups[g];
        over_panels(down, group.expert, first, last, stage.after(down, group, first, last), stage.hidden_tiles + group.first_tile,
                    group.tiles, scratch, [&](int64_t p, const Tile& tile, const float* products) {
            for (int t = 0; t < tile.tokens; ++t) {
                const int64_t slot = group.first + tile.first + t;
                float* place = sum + stage.token(slot) * width + p * kPanelRows;
                __builtin_prefetch(place + kPanelRows, 1);  // the next panel's
                const F32x16 factor = broadcast(stage.factors != nullptr ? stage.factors[slot] : 1.0f);
                store(place, fma(load(products + kPanelRows * t), factor, load(place)));
            }
        });
    }
}

// Splits a stage's gate and up matrices into ranges that take about as long, a range within a group.
inline void add_ranges(const Stage& stage, const ThreadPool& pool, std::vector<PanelRange>& ranges) {
    constexpr int64_t kReading = 4;  // tokens that are multiplied while a panel is read
    const int64_t panels = stage.mlp->gate->panels();
    const auto cost = [](const Group& group) { return kReading + group.count; };
    int64_t all = 0;
    for (int64_t g = 0; g < stage.group_count; ++g) all += panels * cost(stage.groups[g]);
    const int64_t share = pool.threads() == 1 ? all : all / (pool.threads() * 8) + 1;
    for (int64_t g = 0; g < stage.group_count; ++g) {
        const Group& group = stage.groups[g];
        const int64_t parts = std::min(ceil_div(panels * cost(group), share), panels);
        const int64_t step = ceil_div(panels, parts);
        for (int64_t first = 0; first < panels; first += step) {
            ranges.push_back({&stage, &group, first, std::min(first + step, panels)});
        }
    }
}

// Runs the stages, whose input tiles are filled, and adds their sum to the residual.
inline void run_stages(Stage* stages, int64_t count, float* residual, int64_t tokens, ThreadPool& pool,
                       Workspace& workspace) {
    std::vector<PanelRange> ranges;
    int64_t scratch_size = 0, hidden_tiles = 0, hidden_values = 0;
    for (int64_t s = 0; s < count; ++s) {
        Stage& stage = stages[s];
        const Weight &gate = *stage.mlp->gate, &up = *stage.mlp->up, &down = *stage.mlp->down;
        add_ranges(stage, pool, ranges);
        for (const Weight* weight : {&gate, &up, &down}) scratch_size = std::max(scratch_size, Panel::scratch_size(*weight));
        Forms forms;
        add_forms(forms, down);
        stage.hidden = workspace.take<float>(stage.slots * gate.rows);
        hidden_values += stage.slots * gate.rows;
        const Group& last = stage.groups[stage.group_count - 1];
        stage.hidden_tiles = workspace.take<Tile>(last.first_tile + last.tiles);
        for (int64_t g = 0; g < stage.group_count; ++g) {
            const Group& group = stage.groups[g];
            plan_tiles(group.count, down.columns, forms, workspace, stage.hidden_tiles + group.first_tile);
            hidden_tiles += group.tiles;
        }
    }
    float* scratch = workspace.take<float>(scratch_size * pool.threads());
    pool.run(static_cast<int64_t>(ranges.size()), [&](int64_t task, int thread) {
        gate_and_up(ranges[static_cast<size_t>(task)], scratch + thread * scratch_size);
    });

    run_tasks(pool, hidden_tiles, kFillCost * hidden_values, [&](int64_t index, int) {
        const Stage* stage = stages;
        const Group* group = stage->groups;
        while (index >= group->tiles) {
            index -= group->tiles;
            if (++group == stage->groups + stage->group_count) group = (++stage)->groups;
        }
        const int64_t columns = stage->mlp->down->columns;
        const Tile& tile = stage->hidden_tiles[group->first_tile + index];
        const float* rows = stage->hidden + (group->first + tile.first) * columns;
        fill_tile(tile, columns, [&](int t) { return rows + t * columns; });
    });

    const Weight& any_down = *stages[0].mlp->down;
    const int64_t hidden_size = any_down.rows, panels = any_down.panels(), width = panels * kPanelRows;
    float* sum = workspace.take<float>(tokens * width);
    // Fewer tasks for many groups: more panels of an expert in a row.
    const int64_t step = stages[0].group_count > 1 ? ceil_div(panels, 2 * pool.threads()) : panels_per_task(panels, pool);
    pool.run(ceil_div(panels, step), [&](int64_t task, int thread) {
        const int64_t first = task * step, last = first + step < panels ? first + step : panels;
        const int64_t row = first * kPanelRows, end = last * kPanelRows < hidden_size ? last * kPanelRows : hidden_size;
        const auto sum_bytes = static_cast<size_t>((last - first) * kPanelRows) * sizeof(float);
        for (int64_t t = 0; t < tokens; ++t) std::memset(sum + t * width + row, 0, sum_bytes);
        for (int64_t s = 0; s < count; ++s) add_down(stages[s], first, last, sum, scratch + thread * scratch_size);
        for (int64_t t = 0; t < tokens; ++t) {
            float* place = residual + t * hidden_size + row;
            const float* added = sum + t * width + row;
            int64_t i = 0;
            for (; i + 16 <= end - row; i += 16) store(place + i, load(place + i) + load(added + i));
            const int64_t rest = end - row - i;
            if (rest > 0) store_first(place + i, load_first(place + i, rest) + load_first(added + i, rest), rest);
        }
    });
}

inline void swiglu(const SwigluArgs& args, ThreadPool& pool, Workspace& workspace) {
    if (args.tokens == 0) return;
    workspace.reset();
    const int64_t columns = args.mlp.gate->columns;
    Forms forms;
    add_forms(forms, *args.mlp.gate);
    add_forms(forms, *args.mlp.up);
    float* normed = workspace.take<float>(args.tokens * columns);
    Tile* tiles = workspace.take<Tile>(tile_count(args.tokens));
    prepare(args.residual, args.norm, args.eps, args.tokens, columns, forms, normed, tiles, pool, workspace);
    const Group group{0, 0, args.tokens, 0, tile_count(args.tokens)};
    Stage stage{&args.mlp, &group, 1, nullptr, nullptr, args.tokens, tiles, nullptr, nullptr};
    run_stages(&stage, 1, args.residual, args.tokens, pool, workspace);
}

}}  // namespace qwill::QWILL_ISA_NS
