// Mixture of experts: the router, and tokens grouped by expert.
#pragma once

#include <algorithm>
#include <cmath>

#include "generic/linear/experts.h"

namespace qwill { namespace QWILL_ISA_NS {

// The top_k largest logits, ties to the lowest index, in ascending order of the expert, and their softmax weights divided
// by the sum of the chosen: exp(l - max) / sum over the chosen, for the sum over all experts cancels.
inline void route(const float* logits, int64_t experts, int64_t top_k, int32_t* chosen, float* weights) {
    for (int64_t k = 0; k < top_k; ++k) chosen[k] = -1;
    for (int64_t k = 0; k < top_k; ++k) {
        // The best expert that comes after the previous one in the order (logit down, index up).
        const int32_t previous = k > 0 ? chosen[k - 1] : -1;
        int32_t best = -1;
        for (int32_t e = 0; e < experts; ++e) {
            if (previous >= 0 && (logits[e] > logits[previous] || (logits[e] == logits[previous] && e <= previous))) continue;
            if (best < 0 || logits[e] > logits[best]) best = e;
        }
        chosen[k] = best;
    }
    const float largest = logits[chosen[0]];
    std::sort(chosen, chosen + top_k);
    float sum = 0.0f;
    for (int64_t k = 0; k < top_k; ++k) sum += weights[k] = std::exp(logits[chosen[k]] - largest);
    for (int64_t k = 0; k < top_k; ++k) weights[k] /= sum;
}

// Slots sorted by expert, then token.
struct Routing {
    std::vector<Group> groups;
    int32_t* tokens;
    float* factors;
    int64_t slots, tiles;
};

inline Routing group_by_expert(const int32_t* chosen, const float* weights, int64_t tokens, int64_t top_k,
                               int64_t experts, Workspace& workspace) {
    Routing routing;
    routing.slots = tokens * top_k;
    routing.tiles = 0;
    routing.tokens = workspace.take<int32_t>(routing.slots);
    routing.factors = workspace.take<float>(routing.slots);
    std::vector<int64_t> next(static_cast<size_t>(experts), 0);
    for (int64_t i = 0; i < routing.slots; ++i) ++next[static_cast<size_t>(chosen[i])];
    int64_t first = 0;
    for (int64_t e = 0; e < experts; ++e) {
        const int64_t count = next[static_cast<size_t>(e)];
        next[static_cast<size_t>(e)] = first;
        if (count == 0) continue;
        routing.groups.push_back({e, first, count, routing.tiles, tile_count(count)});
        routing.tiles += tile_count(count);
        first += count;
    }
    for (int64_t i = 0; i < routing.slots; ++i) {
        const int64_t slot = next[static_cast<size_t>(chosen[i])]++;
        routing.tokens[slot] = static_cast<int32_t>(i / top_k);
        routing.factors[slot] = weights[i];
    }
    return routing;
}

inline void moe(const MoeArgs& args, ThreadPool& pool, Workspace& workspace) {
    if (args.tokens == 0) return;
    workspace.reset();
    const int64_t columns = args.router->columns, tokens = args.tokens, experts = args.router->rows;

    // All tokens in tiles, for the router and the shared expert.
    Forms forms;
    add_forms(forms, *args.router);
    if (args.shared != nullptr) {
        add_forms(forms, *args.shared->gate);
        add_forms(forms, *args.shared->up);
    }
    float* normed = workspace.take<float>(tokens * columns);
    Tile* token_tiles = workspace.take<Tile>(tile_count(tokens));
    prepare(args.residual, args.norm, args.eps, tokens, columns, forms, normed, token_tiles, pool, workspace);
    float* logits = workspace.take<float>(tokens * experts);
    const Projection projection{args.router, nullptr, logits, Activation::none, false};
    project(&projection, 1, token_tiles, tile_count(tokens), pool, workspace);

    int32_t* chosen = workspace.take<int32_t>(tokens * args.top_k);
    float* weights = workspace.take<float>(tokens * args.top_k);
    float* shared_factors = args.shared_gate != nullptr ? workspace.take<float>(tokens) : nullptr;
    run_tasks(pool, tokens, tokens * (experts * args.top_k + columns), [&](int64_t t, int) {
        route(logits + t * experts, experts, args.top_k, chosen + t * args.top_k, weights + t * args.top_k);
        if (shared_factors != nullptr) {
            shared_factors[t] = 1.0f / (1.0f + std::exp(-dot(normed + t * columns, args.shared_gate, columns)));
        }
    });
    const Routing routing = group_by_expert(chosen, weights, tokens, args.top_k, experts, workspace);

    Forms expert_forms;
    add_forms(expert_forms, *args.experts.gate);
    add_forms(expert_forms, *args.experts.up);
    Tile* inputs = workspace.take<Tile>(routing.tiles);
    std::vector<const Group*> owners;  // of each tile
    for (const Group& group : routing.groups) {
        plan_tiles(group.count, columns, expert_forms, workspace, inputs + group.first_tile);
        owners.insert(owners.end(), static_cast<size_t>(group.tiles), &group);
    }
    run_tasks(pool, routing.tiles, kFillCost * routing.slots * columns, [&](int64_t index, int) {
        const int32_t* slot_tokens = routing.tokens + owners[static_cast<size_t>(index)]->first + inputs[index].first;
        fill_tile(inputs[index], columns, [&](int t) { return normed + slot_tokens[t] * columns; });
    });

    const Group everyone{0, 0, tokens, 0, tile_count(tokens)};
    Stage stages[2] = {
        {&args.experts, routing.groups.data(), static_cast<int64_t>(routing.groups.size()), routing.tokens,
         routing.factors, routing.slots, inputs, nullptr, nullptr},
        {args.shared, &everyone, 1, nullptr, shared_factors, tokens, token_tiles, nullptr, nullptr},
    };
    run_stages(stages, args.shared != nullptr ? 2 : 1, args.residual, tokens, pool, workspace);
}

}}  // namespace qwill::QWILL_ISA_NS
