// Packed weights and argument structs of everything that multiplies by them. Arrays are row-major and contiguous.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "memory.h"

namespace qwill {

class ThreadPool;

// Rows of a weight are computed sixteen at a time, one in each lane of a vector: a panel.
constexpr int64_t kPanelRows = 16;

// A matrix, or one for each expert, packed for the kernels (generic/linear/integer_pack.h) or still in the file's blocks.
struct Weight {
    int type;  // formats::TensorTypeId
    int64_t rows, columns, experts;
    int64_t panel_bytes = 0;             // 0: not packed, `parts` are rows of blocks that are decoded while multiplying
    std::vector<const uint8_t*> parts;   // one for each expert
    std::vector<float> scales;           // FP8: [experts, ceil(rows / 128), ceil(columns / 128)]
    std::vector<float> row_scales;       // [experts, panels, 16], zeros behind the last row; or empty: all are 1
    std::shared_ptr<const AlignedBuffer> storage;  // what `parts` point into when packed, shared with what was packed together

    int64_t packed_bytes() const { return experts * panels() * panel_bytes; }
    int64_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
};

struct PackArgs {
    int type;
    int64_t rows, columns;
    std::vector<const uint8_t*> parts;  // one for each expert, rows of blocks as in the file
    std::vector<float> scales, row_scales;  // as in Weight
    bool mapped;  // parts are mapped files: their pages are given back to the system as soon as they are packed
};

// A weight to pack; its rows, columns and experts are set.
struct PackItem {
    PackArgs args;
    Weight* weight;
};

enum class Activation : int { none, gelu_tanh, gelu, silu };

// out = activation(x W^T + bias), or out += when `add`.
struct Projection {
    const Weight* weight;  // of one expert
    const float* bias;     // [rows] or null
    float* out;            // [tokens, rows]
    Activation activation;
    bool add;
};

// Projections of the same x. Bias, activation and add apply to each.
struct LinearArgs {
    const float* x;     // [tokens, columns]
    const float* norm;  // [columns]: x is first RMS-normalised and multiplied by it; or null
    float eps;
    int64_t tokens;
    const Projection* projections;
    int64_t count;
};

// down(silu(gate n) * (up n)) of one or of several experts.
struct Experts {
    const Weight *gate, *up, *down;
};

// residual += down(silu(gate n) * (up n)) with n = rms_norm(residual) * norm
struct SwigluArgs {
    float* residual;    // [tokens, hidden]
    const float* norm;  // [hidden]
    float eps;
    int64_t tokens;
    Experts mlp;
};

// residual += sum over the top_k experts e by router logit of p_e expert_e(n) + sigmoid(shared_gate . n) shared(n), where
// p is the softmax over all experts, divided by the sum of the chosen ones.
struct MoeArgs {
    float* residual;
    const float* norm;
    float eps;
    int64_t tokens;
    const Weight* router;  // [experts, hidden]
    int64_t top_k;
    Experts experts;
    const Experts* shared;     // or null
    const float* shared_gate;  // [hidden], or null: the shared expert counts in full
};

// What an adapter adds to rows `first` to `last` - 1 of a projection: scale b (a x). Both are F32 matrices.
struct LowRankPart {
    const Weight *a, *b;  // [rank, columns], [rows, rank]
    float scale;
    int64_t first, last;
    float* out;  // [tokens, rows]; no other part adds to the same rows of it
};

// Parts of the same x.
struct LowRankArgs {
    const float* x;     // [tokens, columns]
    const float* norm;  // as in LinearArgs
    float eps;
    const LowRankPart* parts;
    int64_t count;
};

// gate = silu(gate) * up
struct SiluProductArgs {
    float* gate;      // [tokens, width]
    const float* up;  // [tokens, width]
    int64_t tokens, width;
};

struct EmbeddingArgs {
    int type;
    const uint8_t* table;  // rows of blocks as in the file
    int64_t columns;
    const int32_t* ids;  // [tokens]
    int64_t tokens;
    float* out;  // [tokens, columns]
};

struct LinearKernels {
    // The place of the first weight that holds something not finite, or -1. Throws std::bad_alloc.
    int64_t (*pack)(PackItem*, int64_t count, ThreadPool&);
    void (*linear)(const LinearArgs&, ThreadPool&, Workspace&);
    void (*swiglu)(const SwigluArgs&, ThreadPool&, Workspace&);
    void (*moe)(const MoeArgs&, ThreadPool&, Workspace&);
    void (*low_rank)(const LowRankArgs&, ThreadPool&, Workspace&);
    void (*silu_product)(const SiluProductArgs&, ThreadPool&);
    void (*embedding)(const EmbeddingArgs&, ThreadPool&);
    int64_t (*dots)(int64_t rounds, ThreadPool&);  // generic/linear/dots.h
};

}  // namespace qwill
