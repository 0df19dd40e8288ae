// Argument structs of norms and token mixers. Arrays are row-major and contiguous.
//
// A step runs `tokens` tokens of `sequences` sequences: rows starts[s] up to starts[s + 1] belong to sequence s.
#pragma once

#include <cstdint>

namespace qwill {

class ThreadPool;

// out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight
struct RmsNormArgs {
    const float* x;       // [tokens, width]
    const float* weight;  // [width], 1 already added where the family stores it zero-centred
    float* out;           // [tokens, width], may be x
    int64_t tokens, width;
    float eps;
};

// out[t] = (x[t] - mean(x[t])) / sqrt(variance(x[t]) + eps) * weight + bias
struct LayerNormArgs {
    const float* x;  // [tokens, width]
    const float *weight, *bias;  // [width]
    float* out;      // [tokens, width]
    int64_t tokens, width;
    float eps;
};

// Gated DeltaNet between its projections: causal convolution, gates, delta rule, gated norm.
// channels = 2 * key_heads * key_dim + value_heads * value_dim, in the order q, k, v.
//
// A draft may have to be taken back, a state cannot. So the inputs of a step's last rows can be laid by in `pending` instead of
// being made part of the states; those that turn out right are replayed before the slot's next rows.
struct GatedDeltaArgs {
    const float* qkv;          // [tokens, channels]
    const float* z;            // [tokens, value_heads, value_dim]
    const float *b, *a;        // [tokens, value_heads]
    const float* conv_weight;  // [kernel, channels], the oldest input's tap first
    const float *A, *dt_bias;  // [value_heads]
    const float* norm;         // [value_dim]
    float* conv_states;        // [slots, kernel - 1, channels]: the inputs before this step, oldest first; updated
    float* states;             // [slots, value_heads, key_dim, value_dim]; updated
    float* pending;            // [slots, most_pending, channels + 2 * value_heads]: rows of qkv, b and a; updated
    const int32_t* starts;     // [sequences + 1]
    const int32_t* slots;      // [sequences], no two the same
    const int32_t* replayed;   // [sequences]: pending rows that come before this step's, up to most_pending
    const int32_t* kept;       // [sequences]: rows of this step that the states take in; the others become pending
    float* out;                // [tokens, value_heads, value_dim]
    int64_t tokens, sequences, key_heads, value_heads, key_dim, value_dim, kernel, most_pending;
    float eps;
    bool tiled;  // value head j reads key head j % key_heads, otherwise j / (value_heads / key_heads)
};

// How keys and values lie in their pages: as they are, rounded to half, or in blocks of 32 signed bytes after a half scale.
enum class PageType { f32, f16, q8_0 };

// Gated attention between its projections: norms, rotary, keys and values into their pages, attention, gate.
struct AttentionArgs {
    const float* q_gate;           // [tokens, heads, 2 * dim]: a head's query, then its gate
    const float *k, *v;            // [tokens, kv_heads, dim]
    const float *q_norm, *k_norm;  // [dim]
    const float *cos, *sin;        // [tokens, rotary / 2]
    void *k_pages, *v_pages;       // [pages, kv_heads, page, dim] of page_type; this step's rows are written
    const int32_t* block_tables;   // [sequences, max_pages]: the pages of each sequence in order
    const int32_t* starts;         // [sequences + 1]
    const int32_t* contexts;       // [sequences]: keys in the pages before this step
    float* out;                    // [tokens, heads, dim]
    int64_t tokens, sequences, heads, kv_heads, dim, rotary, page, max_pages;
    float eps;
    PageType page_type;
};

// Attention of an image's patches among themselves; each segment (image or video frame) by itself.
struct VisionAttentionArgs {
    const float* qkv;         // [tokens, 3, heads, dim]
    const float *cos, *sin;   // [tokens, dim / 2]
    const int32_t* starts;    // [segments + 1]
    float* out;               // [tokens, heads, dim]
    int64_t tokens, segments, heads, dim;
    bool rounded;  // to BF16: queries, keys, values and weights
};

struct MixerKernels {
    void (*rms_norm)(const RmsNormArgs&, ThreadPool&);
    void (*layer_norm)(const LayerNormArgs&, ThreadPool&);
    void (*gated_delta)(const GatedDeltaArgs&, ThreadPool&);
    void (*attention)(const AttentionArgs&, ThreadPool&);
    void (*vision_attention)(const VisionAttentionArgs&, ThreadPool&);
    // Elementwise functions of math.h over n floats, for tests of their accuracy.
    void (*exp)(const float* x, float* out, int64_t n);
    void (*softplus)(const float* x, float* out, int64_t n);
};

}  // namespace qwill
