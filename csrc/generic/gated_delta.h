// Gated DeltaNet: convolution and gates of a chunk of tokens, then the delta rule of each value head.
//
// The delta rule is the recurrence itself, token by token, for prompts too, so a token's result does not depend on how many
// tokens are computed together. The columns of a state are independent of each other: a tile of them stays in the first
// cache, or nearly, while the tokens run over it.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "generic/rms_norm.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

// Tokens whose convolved inputs are held at a time.
constexpr int64_t kDeltaChunk = 256;

// Tokens whose inputs are fetched before they are convolved.
constexpr int64_t kRowsAhead = 8;

// The rows of one sequence in a chunk. In the scratch memory the replayed ones, which count from `row`, stand before the others.
struct DeltaRows {
    int64_t first, count, slot, row, replayed, kept;
};

// What the first job leaves for the second, for the rows of a chunk and those replayed before them, `rows` at most.
struct DeltaScratch {
    float* inputs;        // q, k, v heads one after another, each [rows, its dim]: after convolution, SiLU and normalisation
    float *decay, *beta;  // [rows, value_heads]
    float* tiles;         // [threads, tile]: columns of a state while many tokens run over them; then a row of output for nobody
    int64_t rows, tile;
};

// Vectors of a state's row that the inner loop keeps three values for: what a key found, its update, the output.
constexpr int kDeltaVectors = kRegisters / 8;

inline int64_t delta_channels(const GatedDeltaArgs& args) {
    return 2 * args.key_heads * args.key_dim + args.value_heads * args.value_dim;
}

inline int64_t pending_width(const GatedDeltaArgs& args) {
    return delta_channels(args) + 2 * args.value_heads;
}

inline float* pending_rows(const GatedDeltaArgs& args, int64_t slot) {
    return args.pending + slot * args.most_pending * pending_width(args);
}

// Convolves `width` channels over `count` rows of x, `stride` apart, into out [count, width]; the last inputs of the first `kept`
// rows move into the convolution's state.
inline void convolve(const GatedDeltaArgs& args, const float* x, int64_t stride, int64_t count, int64_t kept, int64_t channel,
                     int64_t width, float* state, float* out) {
    const int64_t channels = delta_channels(args), history = args.kernel - 1;
    const float* weight = args.conv_weight + channel;
    const auto input = [&](int64_t t) { return t >= 0 ? x + t * stride : state + (history + t) * channels; };
    for (int64_t t = 0; t < count; ++t) {
        float* row = out + t * width;
        // Rows lie so far apart that no processor looks ahead to them by itself.
        for (int64_t i = 0; i < width; i += 16) __builtin_prefetch(x + (t + kRowsAhead) * stride + i);
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
        const float* source = input(kept - history + i);
        std::copy(source, source + width, state + i * channels);
    }
}

// The same for the replayed rows of a sequence and then for its new ones, of which those not kept are laid by.
inline void convolve_rows(const GatedDeltaArgs& args, const DeltaRows& rows, int64_t channel, int64_t width, float* out) {
    const int64_t channels = delta_channels(args), stride = pending_width(args);
    float* state = args.conv_states + rows.slot * (args.kernel - 1) * channels + channel;
    float* pending = pending_rows(args, rows.slot) + channel;
    const float* x = args.qkv + rows.first * channels + channel;
    if (rows.replayed > 0) convolve(args, pending, stride, rows.replayed, rows.replayed, channel, width, state, out);
    convolve(args, x, channels, rows.count, rows.kept, channel, width, state, out + rows.replayed * width);
    for (int64_t t = rows.kept; t < rows.count; ++t) std::copy_n(x + t * channels, width, pending + (t - rows.kept) * stride);
}

// Decay and strength of each replayed and each new row; the inputs of those not kept are laid by.
inline void delta_gates(const GatedDeltaArgs& args, const DeltaRows& rows, const DeltaScratch& scratch) {
    const int64_t heads = args.value_heads, stride = pending_width(args);
    float* pending = pending_rows(args, rows.slot) + delta_channels(args);
    for (int64_t t = -rows.replayed; t < rows.count; ++t) {
        const float* laid_by = pending + (t + rows.replayed) * stride;
        const float* b = t < 0 ? laid_by : args.b + (rows.first + t) * heads;
        const float* a = t < 0 ? laid_by + heads : args.a + (rows.first + t) * heads;
        const int64_t to = (rows.row + rows.replayed + t) * heads;
        for_vectors(heads, [&](auto get, auto put) {
            const F32x16 step = softplus(get(a) + get(args.dt_bias));
            put(scratch.decay + to, exp(get(args.A) * step));
            put(scratch.beta + to, sigmoid(get(b)));
        });
    }
    for (int64_t t = rows.kept; t < rows.count; ++t) {
        float* row = pending + (t - rows.kept) * stride;
        std::copy_n(args.b + (rows.first + t) * heads, heads, row);
        std::copy_n(args.a + (rows.first + t) * heads, heads, row + heads);
    }
}

// x / sqrt(sum(x^2) + 1e-6) * factor, in place
inline void l2_normalise(float* x, int64_t width, float factor) {
    const F32x16 scale = broadcast(factor / std::sqrt(dot(x, x, width) + 1e-6f));
    map(x, x, width, [&](F32x16 a) { return a * scale; });
}

// Part `part` of the first job: a query or key head (2 * key_heads of them), a value head, or the gates.
inline void delta_inputs(const GatedDeltaArgs& args, const DeltaRows& rows, int64_t part, const DeltaScratch& scratch) {
    const int64_t key_parts = 2 * args.key_heads;
    if (part < key_parts) {
        const int64_t channel = part * args.key_dim;
        float* out = scratch.inputs + scratch.rows * channel + rows.row * args.key_dim;
        convolve_rows(args, rows, channel, args.key_dim, out);
        const float factor = part < args.key_heads ? 1.0f / std::sqrt(static_cast<float>(args.key_dim)) : 1.0f;
        for (int64_t t = 0; t < rows.replayed + rows.count; ++t) l2_normalise(out + t * args.key_dim, args.key_dim, factor);
    } else if (part < key_parts + args.value_heads) {
        const int64_t channel = key_parts * args.key_dim + (part - key_parts) * args.value_dim;
        convolve_rows(args, rows, channel, args.value_dim, scratch.inputs + scratch.rows * channel + rows.row * args.value_dim);
    } else {
        delta_gates(args, rows, scratch);
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

    // `tokens` of its tokens, from `first` on.
    DeltaHead part(int64_t first, int64_t tokens) const {
        DeltaHead result = *this;
        result.q += first * key_dim;
        result.k += first * key_dim;
        result.v += first * value_dim;
        result.decay += first * value_heads;
        result.beta += first * value_heads;
        result.out += first * out_stride;
        result.count = tokens;
        return result;
    }
};

// Runs the tokens over Vectors * 16 columns of the state, from `column` on, or over `lanes` columns when Partial. `state`
// is the first of these columns, with rows of `stride`. Each token takes one pass: it decays and updates the state, reads its
// own output, and reads what the next token's key will find there. When Fetching, the next head's state comes into the
// second cache meanwhile: memory would be idle while this one's, which is there already, is gone through again.
template <int Vectors, bool Partial, bool Fetching = false>
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
                unroll<Vectors>([&](auto j) {
                    if constexpr (Fetching) __builtin_prefetch(state + (head.key_dim + i) * stride + 16 * j, 0, 2);
                    step(i, j, ki, qi);
                });
            }
        }
        unroll<Vectors>([&](auto j) { put(head.out + t * head.out_stride + column + 16 * j, out[j]); });
    }
}

// Some tokens over a tile of `width` columns that is copied out of the state, and back into it if they are kept: the rows of the
// state itself, a power of two apart, would crowd into a few sets of the cache.
template <int Vectors, bool Partial>
inline void delta_tile(const DeltaHead& head, int64_t column, int64_t width, bool kept) {
    for (int64_t i = 0; i < head.key_dim; ++i) std::copy_n(head.state + i * head.value_dim + column, width, head.tile + i * width);
    delta_columns<Vectors, Partial>(head, head.tile, width, column, width);
    if (!kept) return;
    for (int64_t i = 0; i < head.key_dim; ++i) std::copy_n(head.tile + i * width, width, head.state + i * head.value_dim + column);
}

// All columns; the state takes the tokens in.
inline void delta_rule(const DeltaHead& head) {
    constexpr int64_t kCopied = 8;             // tokens from which a copy pays
    constexpr int kWide = 2 * kDeltaVectors;  // for a single token, which streams the state and has nothing to look ahead to
    const int64_t stride = head.value_dim;
    int64_t column = 0;
    if (head.count == 1) {
        for (; column + 16 * kWide <= stride; column += 16 * kWide) {
            delta_columns<kWide, false, true>(head, head.state + column, stride, column, 16);
        }
    }
    for (; column + 16 * kDeltaVectors <= stride; column += 16 * kDeltaVectors) {
        if (head.count >= kCopied) delta_tile<kDeltaVectors, false>(head, column, 16 * kDeltaVectors, true);
        else delta_columns<kDeltaVectors, false>(head, head.state + column, stride, column, 16);
    }
    for (; column + 16 <= stride; column += 16) delta_columns<1, false>(head, head.state + column, stride, column, 16);
    if (column < stride) delta_columns<1, true>(head, head.state + column, stride, column, stride - column);
}

// All columns; the state stays as it was.
inline void delta_rule_aside(const DeltaHead& head) {
    int64_t column = 0;
    for (; column + 16 * kDeltaVectors <= head.value_dim; column += 16 * kDeltaVectors) {
        delta_tile<kDeltaVectors, false>(head, column, 16 * kDeltaVectors, false);
    }
    for (; column + 16 <= head.value_dim; column += 16) delta_tile<1, false>(head, column, 16, false);
    if (column < head.value_dim) delta_tile<1, true>(head, column, head.value_dim - column, false);
}

inline void delta_head(const GatedDeltaArgs& args, const DeltaRows& rows, int64_t index, const DeltaScratch& scratch, int thread) {
    const int64_t key_head = args.tiled ? index % args.key_heads : index / (args.value_heads / args.key_heads);
    const int64_t state_size = args.key_dim * args.value_dim, out_stride = args.value_heads * args.value_dim;
    const int64_t gate = rows.row * args.value_heads + index, first = rows.first * out_stride + index * args.value_dim;
    const auto key_rows = [&](int64_t part) { return scratch.inputs + (scratch.rows * part + rows.row) * args.key_dim; };
    const float* values = scratch.inputs + scratch.rows * 2 * args.key_heads * args.key_dim + (scratch.rows * index + rows.row) * args.value_dim;
    float* tile = scratch.tiles + thread * scratch.tile;
    DeltaHead head{args.states + (rows.slot * args.value_heads + index) * state_size,
                   key_rows(key_head), key_rows(args.key_heads + key_head), values,
                   scratch.decay + gate, scratch.beta + gate, args.out + first, tile,
                   rows.replayed + rows.count, args.key_dim, args.value_dim, args.value_heads, out_stride};
    if (rows.replayed > 0) {
        DeltaHead again = head.part(0, rows.replayed);  // its outputs were given in an earlier step
        again.out = tile + scratch.tile - args.value_dim;
        again.out_stride = 0;
        delta_rule(again);
        float* out = head.out;
        head = head.part(rows.replayed, rows.count);
        head.out = out;
    }
    if (rows.kept > 0) delta_rule(head.part(0, rows.kept));
    if (rows.kept < rows.count) delta_rule_aside(head.part(rows.kept, rows.count - rows.kept));
    for (int64_t t = 0; t < rows.count; ++t) {
        float* out = head.out + t * out_stride;
        const float* z = args.z + first + t * out_stride;
        const F32x16 scale = broadcast(inverse_rms(out, args.value_dim, args.eps));
        for_vectors(args.value_dim, [&](auto get, auto put) { put(out, get(out) * scale * get(args.norm) * silu(get(z))); });
    }
}

// The rows of a sequence between rows `begin` and `end` of the step; `replayed_before`: rows replayed for the sequences before.
inline DeltaRows delta_rows(const GatedDeltaArgs& args, int64_t sequence, int64_t begin, int64_t end, int64_t replayed_before) {
    const int64_t start = args.starts[sequence], stop = args.starts[sequence + 1];
    const int64_t first = std::max(start, begin), count = std::min(stop, end) - first;
    return DeltaRows{first, count, args.slots[sequence], first - begin + replayed_before,
                     start >= begin ? args.replayed[sequence] : 0,  // before the first of its rows, wherever the others are
                     std::clamp<int64_t>(start + args.kept[sequence] - first, 0, std::max<int64_t>(count, 0))};
}

// Where the chunk ends that begins there: rows that are not kept lie in one chunk, since no state takes them in between two.
inline int64_t delta_chunk_end(const GatedDeltaArgs& args, int64_t begin) {
    const int64_t end = std::min(begin + kDeltaChunk, args.tokens);
    const int64_t sequence = std::upper_bound(args.starts, args.starts + args.sequences + 1, end) - args.starts - 1;
    if (sequence == args.sequences || args.kept[sequence] == args.starts[sequence + 1] - args.starts[sequence]) return end;
    const int64_t drafts = args.starts[sequence] + args.kept[sequence];
    return std::min(end, drafts);  // behind `begin`, since fewer rows than a chunk has can be pending
}

inline void gated_delta(const GatedDeltaArgs& args, ThreadPool& pool) {
    const int64_t channels = delta_channels(args), parts = 2 * args.key_heads + args.value_heads + 1;
    const int64_t head_cost = args.key_dim * args.value_dim / 4;
    std::vector<int64_t> replayed_before(args.sequences + 1);
    for (int64_t s = 0; s < args.sequences; ++s) replayed_before[s + 1] = replayed_before[s] + args.replayed[s];
    const int64_t rows = std::min(kDeltaChunk, args.tokens) + replayed_before.back(), tile = args.key_dim * 16 * kDeltaVectors + args.value_dim;
    const std::unique_ptr<float[]> memory(new float[rows * (channels + 2 * args.value_heads) + pool.threads() * tile]);
    float* gates = memory.get() + rows * channels;
    const DeltaScratch scratch{memory.get(), gates, gates + rows * args.value_heads, gates + 2 * rows * args.value_heads, rows, tile};
    for (int64_t begin = 0, end; begin < args.tokens; begin = end) {
        end = delta_chunk_end(args, begin);
        const auto rows_of = [&](int64_t sequence) { return delta_rows(args, sequence, begin, end, replayed_before[sequence]); };
        const int64_t count = end - begin;
        run_tasks(pool, args.sequences * parts, count * channels * args.kernel, [&](int64_t task, int) {
            const DeltaRows rows = rows_of(task / parts);
            if (rows.count > 0) delta_inputs(args, rows, task % parts, scratch);
        });
        run_tasks(pool, args.sequences * args.value_heads, count * args.value_heads * head_cost, [&](int64_t task, int thread) {
            const DeltaRows rows = rows_of(task / args.value_heads);
            if (rows.count > 0) delta_head(args, rows, task % args.value_heads, scratch, thread);
        });
    }
}

}}  // namespace qwill::QWILL_ISA_NS
