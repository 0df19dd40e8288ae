// Gated DeltaNet: convolution and gates of a chunk of tokens, then the delta rule of each value head.
//
// The delta rule is the recurrence itself, token by token, for prompts too, so a token's result does not depend on how many
// tokens are computed together. The columns of a state are independent of each other: a tile of them stays in the first
// cache, or nearly, while the tokens run over it.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "generic/rms_norm.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

// Tokens whose convolved inputs are held at a time.
constexpr int64_t kDeltaChunk = 256;

// Tokens whose inputs are fetched before they are convolved.
constexpr int64_t kRowsAhead = 8;

// The rows of one sequence in a chunk.
struct DeltaRows {
    int64_t first, count, slot;
};

// What the first job leaves for the second, for the rows of a chunk.
struct DeltaScratch {
    float* inputs;        // q, k, v heads one after another, each [chunk, its dim]: after convolution, SiLU and normalisation
    float *decay, *beta;  // [chunk, value_heads]
    float* tiles;         // [threads, key_dim, 16 * kDeltaVectors]: columns of a state while many tokens run over them
    int64_t chunk;
};

// Vectors of a state's row that the inner loop keeps three values for: what a key found, its update, the output.
constexpr int kDeltaVectors = kRegisters / 8;

inline int64_t delta_channels(const GatedDeltaArgs& args) {
    return 2 * args.key_heads * args.key_dim + args.value_heads * args.value_dim;
}

// Convolves `width` channels over the rows into out [rows, width] and moves the last inputs into the convolution's state.
inline void convolve(const GatedDeltaArgs& args, const DeltaRows& rows, int64_t channel, int64_t width, float* out) {
    const int64_t channels = delta_channels(args), history = args.kernel - 1;
    const float* x = args.qkv + rows.first * channels + channel;
    const float* weight = args.conv_weight + channel;
    float* state = args.conv_states + rows.slot * history * channels + channel;
    const auto input = [&](int64_t t) { return t >= 0 ? x + t * channels : state + (history + t) * channels; };
    for (int64_t t = 0; t < rows.count; ++t) {
        float* row = out + t * width;
        // Rows lie so far apart that no processor looks ahead to them by itself.
        for (int64_t i = 0; i < width; i += 16) __builtin_prefetch(x + (t + kRowsAhead) * channels + i);
        for_vectors(width, [&](auto get, auto put) {
            F32x16 sum = get(input(t - history)) * get(weight);
            for (int64_t tap = 1; tap <= history; ++tap) {
                sum = fma(get(input(t - history + tap)), get(weight + tap * channels), sum);
            }
            put(row, silu(sum));
        });
    }
    // Ascending, so that a row is read before it is overwritten.
    for (int64_t i = 0; i < history; ++i) {
        const float* source = input(rows.count - history + i);
        std::copy(source, source + width, state + i * channels);
    }
}

// x / sqrt(sum(x^2) + 1e-6) * factor, in place
inline void l2_normalise(float* x, int64_t width, float factor) {
    const F32x16 scale = broadcast(factor / std::sqrt(dot(x, x, width) + 1e-6f));
    map(x, x, width, [&](F32x16 a) { return a * scale; });
}

// Part `part` of the first job: a query or key head (2 * key_heads of them), a value head, or the gates.
inline void delta_inputs(const GatedDeltaArgs& args, const DeltaRows& rows, int64_t part, int64_t row, const DeltaScratch& scratch) {
    const int64_t key_parts = 2 * args.key_heads;
    if (part < key_parts) {
        const int64_t channel = part * args.key_dim;
        float* out = scratch.inputs + scratch.chunk * channel + row * args.key_dim;
        convolve(args, rows, channel, args.key_dim, out);
        const float factor = part < args.key_heads ? 1.0f / std::sqrt(static_cast<float>(args.key_dim)) : 1.0f;
        for (int64_t t = 0; t < rows.count; ++t) l2_normalise(out + t * args.key_dim, args.key_dim, factor);
    } else if (part < key_parts + args.value_heads) {
        const int64_t channel = key_parts * args.key_dim + (part - key_parts) * args.value_dim;
        convolve(args, rows, channel, args.value_dim, scratch.inputs + scratch.chunk * channel + row * args.value_dim);
    } else {
        for (int64_t t = 0; t < rows.count; ++t) {
            const int64_t from = (rows.first + t) * args.value_heads, to = (row + t) * args.value_heads;
            for_vectors(args.value_heads, [&](auto get, auto put) {
                const F32x16 step = softplus(get(args.a + from) + get(args.dt_bias));
                put(scratch.decay + to, exp(get(args.A) * step));
                put(scratch.beta + to, sigmoid(get(args.b + from)));
            });
        }
    }
}

// One value head of one sequence.
struct DeltaHead {
    float* state;               // [key_dim, value_dim]
    const float *q, *k, *v;     // [count, their dims]
    const float *decay, *beta;  // rows of `value_heads`
    float* out;                 // rows of `out_stride`
    float* tile;                // the thread's [key_dim, 16 * kDeltaVectors]
    int64_t count, key_dim, value_dim, value_heads, out_stride;
};

// Runs the tokens over Vectors * 16 columns of the state, from `column` on, or over `lanes` columns when Partial. `state`
// is the first of these columns, with rows of `stride`. Each token takes one pass: it decays and updates the state, reads its
// own output, and reads what the next token's key will find there.
template <int Vectors, bool Partial>
inline void delta_columns(const DeltaHead& head, float* state, int64_t stride, int64_t column, int64_t lanes) {
    const auto get = [&](const float* p) { if constexpr (Partial) return load_first(p, lanes); else return load(p); };
    const auto put = [&](float* p, F32x16 a) { if constexpr (Partial) store_first(p, a, lanes); else store(p, a); };
    F32x16 found[Vectors], update[Vectors], out[Vectors];
    unroll<Vectors>([&](auto j) { found[j] = zero(); });
    for (int64_t i = 0; i < head.key_dim; ++i) {
        const F32x16 k = broadcast(head.k[i]);
        unroll<Vectors>([&](auto j) { found[j] = fma(k, get(state + i * stride + 16 * j), found[j]); });
    }
    for (int64_t t = 0; t < head.count; ++t) {
        const float *q = head.q + t * head.key_dim, *k = head.k + t * head.key_dim, *v = head.v + t * head.value_dim + column;
        const F32x16 decay = broadcast(head.decay[t * head.value_heads]), beta = broadcast(head.beta[t * head.value_heads]);
        unroll<Vectors>([&](auto j) {
            update[j] = beta * (get(v + 16 * j) - decay * found[j]);
            out[j] = found[j] = zero();
        });
        const auto step = [&](int64_t i, auto j, F32x16 ki, F32x16 qi) {
            float* cell = state + i * stride + 16 * j;
            const F32x16 s = fma(ki, update[j], decay * get(cell));
            put(cell, s);
            out[j] = fma(qi, s, out[j]);
            return s;
        };
        if (t + 1 < head.count) {
            const float* next = k + head.key_dim;
            for (int64_t i = 0; i < head.key_dim; ++i) {
                const F32x16 ki = broadcast(k[i]), qi = broadcast(q[i]), ni = broadcast(next[i]);
                unroll<Vectors>([&](auto j) { found[j] = fma(ni, step(i, j, ki, qi), found[j]); });
            }
        } else {
            for (int64_t i = 0; i < head.key_dim; ++i) {
                const F32x16 ki = broadcast(k[i]), qi = broadcast(q[i]);
                unroll<Vectors>([&](auto j) { step(i, j, ki, qi); });
            }
        }
        unroll<Vectors>([&](auto j) { put(head.out + t * head.out_stride + column + 16 * j, out[j]); });
    }
}

// Some tokens over a tile of columns that is copied out of the state: the rows of the state itself, a power of two apart,
// would crowd into a few sets of the cache.
inline void delta_tile(const DeltaHead& head, int64_t column) {
    constexpr int64_t width = 16 * kDeltaVectors;
    for (int64_t i = 0; i < head.key_dim; ++i) std::copy_n(head.state + i * head.value_dim + column, width, head.tile + i * width);
    delta_columns<kDeltaVectors, false>(head, head.tile, width, column, 16);
    for (int64_t i = 0; i < head.key_dim; ++i) std::copy_n(head.tile + i * width, width, head.state + i * head.value_dim + column);
}

inline void delta_rule(const DeltaHead& head) {
    constexpr int64_t kCopied = 8;             // tokens from which a copy pays
    constexpr int kWide = 2 * kDeltaVectors;  // for a single token, which streams the state and has nothing to look ahead to
    const int64_t stride = head.value_dim;
    int64_t column = 0;
    if (head.count == 1) {
        for (; column + 16 * kWide <= stride; column += 16 * kWide) {
            delta_columns<kWide, false>(head, head.state + column, stride, column, 16);
        }
    }
    for (; column + 16 * kDeltaVectors <= stride; column += 16 * kDeltaVectors) {
        if (head.count >= kCopied) delta_tile(head, column);
        else delta_columns<kDeltaVectors, false>(head, head.state + column, stride, column, 16);
    }
    for (; column + 16 <= stride; column += 16) delta_columns<1, false>(head, head.state + column, stride, column, 16);
    if (column < stride) delta_columns<1, true>(head, head.state + column, stride, column, stride - column);
}

inline void delta_head(const GatedDeltaArgs& args, const DeltaRows& rows, int64_t index, int64_t row, const DeltaScratch& scratch, int thread) {
    const int64_t key_head = args.tiled ? index % args.key_heads : index / (args.value_heads / args.key_heads);
    const int64_t state_size = args.key_dim * args.value_dim, out_stride = args.value_heads * args.value_dim;
    const int64_t gate = row * args.value_heads + index, first = rows.first * out_stride + index * args.value_dim;
    const auto key_rows = [&](int64_t part) { return scratch.inputs + (scratch.chunk * part + row) * args.key_dim; };
    const float* values = key_rows(2 * args.key_heads) - row * args.key_dim + (scratch.chunk * index + row) * args.value_dim;
    const DeltaHead head{args.states + (rows.slot * args.value_heads + index) * state_size,
                         key_rows(key_head), key_rows(args.key_heads + key_head), values,
                         scratch.decay + gate, scratch.beta + gate, args.out + first,
                         scratch.tiles + thread * args.key_dim * 16 * kDeltaVectors,
                         rows.count, args.key_dim, args.value_dim, args.value_heads, out_stride};
    delta_rule(head);
    for (int64_t t = 0; t < rows.count; ++t) {
        float* out = head.out + t * out_stride;
        const float* z = args.z + first + t * out_stride;
        const F32x16 scale = broadcast(inverse_rms(out, args.value_dim, args.eps));
        for_vectors(args.value_dim, [&](auto get, auto put) { put(out, get(out) * scale * get(args.norm) * silu(get(z))); });
    }
}

inline void gated_delta(const GatedDeltaArgs& args, ThreadPool& pool) {
    const int64_t channels = delta_channels(args), parts = 2 * args.key_heads + args.value_heads + 1;
    const int64_t chunk = std::min(kDeltaChunk, args.tokens);
    const int64_t inputs = chunk * channels, gates = chunk * args.value_heads, tile = args.key_dim * 16 * kDeltaVectors;
    const int64_t head_cost = args.key_dim * args.value_dim / 4;
    const std::unique_ptr<float[]> memory(new float[inputs + 2 * gates + pool.threads() * tile]);
    const DeltaScratch scratch{memory.get(), memory.get() + inputs, memory.get() + inputs + gates, memory.get() + inputs + 2 * gates, chunk};
    for (int64_t begin = 0; begin < args.tokens; begin += chunk) {
        const auto rows_of = [&](int64_t sequence) {
            const int64_t first = std::max<int64_t>(args.starts[sequence], begin);
            const int64_t end = std::min<int64_t>(args.starts[sequence + 1], begin + chunk);
            return DeltaRows{first, end - first, args.slots[sequence]};
        };
        const int64_t count = std::min(chunk, args.tokens - begin);
        run_tasks(pool, args.sequences * parts, count * channels * args.kernel, [&](int64_t task, int) {
            const DeltaRows rows = rows_of(task / parts);
            if (rows.count > 0) delta_inputs(args, rows, task % parts, rows.first - begin, scratch);
        });
        run_tasks(pool, args.sequences * args.value_heads, count * args.value_heads * head_cost, [&](int64_t task, int thread) {
            const DeltaRows rows = rows_of(task / args.value_heads);
            if (rows.count > 0) delta_head(args, rows, task % args.value_heads, rows.first - begin, scratch, thread);
        });
    }
}

}}  // namespace qwill::QWILL_ISA_NS
