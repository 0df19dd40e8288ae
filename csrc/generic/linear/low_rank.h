// What adapters add to projections: out += scale b (a x), for several runs of rows and several matrices in two jobs.
//
// Both products are those that linear() would give, so a row's bits depend neither on the rows beside it nor on what is
// computed together. The matrices are small: a job for each would take longer to begin than to do.
#pragma once

#include "generic/linear/project.h"

namespace qwill { namespace QWILL_ISA_NS {

// A part with its tiles: of the input, which parts of the same rows share, and of its product with a.
struct LowRankStage {
    const LowRankPart* part;
    const Tile* inputs;
    Tile* tiles;
    float* low;  // [rows, rank]
    int64_t count() const { return tile_count(part->last - part->first); }
};

inline void plan_low_rank(const LowRankArgs& args, Workspace& workspace, LowRankStage* stages) {
    Forms forms;
    forms.values = true;
    const int64_t columns = args.parts[0].a->columns;
    for (int64_t i = 0; i < args.count; ++i) {
        const LowRankPart& part = args.parts[i];
        const int64_t rows = part.last - part.first, rank = part.a->rows;
        LowRankStage& stage = stages[i];
        stage.part = &part;
        const bool shared = i > 0 && part.first == args.parts[i - 1].first && part.last == args.parts[i - 1].last;
        if (shared) {
            stage.inputs = stages[i - 1].inputs;
        } else {
            Tile* tiles = workspace.take<Tile>(stage.count());
            plan_tiles(rows, columns, forms, workspace, tiles);
            stage.inputs = tiles;
        }
        stage.tiles = workspace.take<Tile>(stage.count());
        plan_tiles(rows, rank, forms, workspace, stage.tiles);
        stage.low = workspace.take<float>(rows * rank);
    }
}

// The rows of each part into its input tiles, normed first where there is a norm.
inline void fill_inputs(const LowRankArgs& args, const LowRankStage* stages, ThreadPool& pool, Workspace& workspace) {
    const int64_t columns = args.parts[0].a->columns;
    std::vector<std::pair<const Tile*, int64_t>> tiles;  // with the first row of their part
    int64_t rows = 0;
    for (int64_t i = 0; i < args.count; ++i) {
        if (i > 0 && stages[i].inputs == stages[i - 1].inputs) continue;
        for (int64_t t = 0; t < stages[i].count(); ++t) tiles.emplace_back(stages[i].inputs + t, stages[i].part->first);
        rows += stages[i].part->last - stages[i].part->first;
    }
    float* normed = args.norm != nullptr ? workspace.take<float>(kTileTokens * columns * pool.threads()) : nullptr;
    run_tasks(pool, static_cast<int64_t>(tiles.size()), kFillCost * rows * columns, [&](int64_t task, int thread) {
        const auto [tile, before] = tiles[static_cast<size_t>(task)];
        const float* x = args.x + (before + tile->first) * columns;
        if (args.norm != nullptr) {
            float* own = normed + thread * kTileTokens * columns;
            for (int t = 0; t < tile->tokens; ++t) rms_norm_row(x + t * columns, args.norm, own + t * columns, columns, args.eps);
            x = own;
        }
        fill_tile(*tile, columns, [&](int t) { return x + t * columns; });
    });
}

// Calls body(stage, first panel, last panel) for pieces of the panels of all parts' matrices, in one job.
template <typename Matrix, typename Body>
inline void over_parts(const LowRankStage* stages, int64_t count, ThreadPool& pool, const Matrix& matrix, const Body& body) {
    int64_t panels = 0;
    for (int64_t i = 0; i < count; ++i) panels += matrix(stages[i]).panels();
    const int64_t step = panels_per_task(panels, pool);
    pool.run(ceil_div(panels, step), [&](int64_t task, int) {
        int64_t first = task * step, last = std::min(first + step, panels);
        for (int64_t i = 0; i < count && first < last; ++i) {
            const int64_t own = matrix(stages[i]).panels();
            if (first < own) body(stages[i], first, std::min(last, own));
            first = std::max<int64_t>(first - own, 0);
            last -= own;
        }
    });
}

inline void low_rank(const LowRankArgs& args, ThreadPool& pool, Workspace& workspace) {
    workspace.reset();
    LowRankStage* stages = workspace.take<LowRankStage>(args.count);
    plan_low_rank(args, workspace, stages);
    fill_inputs(args, stages, pool, workspace);
    over_parts(stages, args.count, pool, [](const LowRankStage& stage) -> const Weight& { return *stage.part->a; },
               [&](const LowRankStage& stage, int64_t first, int64_t last) {
        const Weight& a = *stage.part->a;
        const F32x16 scale = broadcast(stage.part->scale);
        over_panels(a, 0, first, last, panel_address(a, 0, last), stage.inputs, stage.count(), nullptr,
                    [&](int64_t p, const Tile& tile, const float* products) {
            const int64_t row = p * kPanelRows, n = std::min(a.rows - row, kPanelRows);
            for (int t = 0; t < tile.tokens; ++t) {
                store_first(stage.low + (tile.first + t) * a.rows + row, load(products + kPanelRows * t) * scale, n);
            }
        });
    });
    for (int64_t i = 0; i < args.count; ++i) {
        const int64_t rank = stages[i].part->a->rows;
        for (int64_t t = 0; t < stages[i].count(); ++t) {
            const Tile& tile = stages[i].tiles[t];
            fill_tile(tile, rank, [&](int token) { return stages[i].low + (tile.first + token) * rank; });
        }
    }
    over_parts(stages, args.count, pool, [](const LowRankStage& stage) -> const Weight& { return *stage.part->b; },
               [&](const LowRankStage& stage, int64_t first, int64_t last) {
        const Weight& b = *stage.part->b;
        const Projection projection{&b, nullptr, stage.part->out + stage.part->first * b.rows, Activation::none, true};
        over_panels(b, 0, first, last, panel_address(b, 0, last), stage.tiles, stage.count(), nullptr,
                    [&](int64_t p, const Tile& tile, const float* products) {
            for (int t = 0; t < tile.tokens; ++t) {
                finish_row(projection, tile.first + t, p * kPanelRows, load(products + kPanelRows * t));
            }
        });
    });
}

}}  // namespace qwill::QWILL_ISA_NS
