// Convolution, SiLU, normalisation and gated delta rule of one Gated DeltaNet layer, forwards and backwards, for
// training on a CPU. A state (64 x 64 floats) stays in the first-level cache while a sequence runs through it. The
// backward pass keeps a state every CHUNK tokens and rebuilds the ones between from the stored writes u.
//
// With S the state, q and k normalised, g = exp(-exp(A_log) softplus(a + bias)), beta = sigmoid(b):
//   u_t = beta_t (v_t - g_t S' k_t),  S_t = g_t S_{t-1} + k_t u_t',  o_t = S_t' q_t.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "bfloat16.h"

namespace {

constexpr int D = 64;       // width of a head
constexpr int CHUNK = 32;   // tokens between two kept states
constexpr int TAPS = 4;     // of the convolution
constexpr float EPS = 1e-6f;

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

struct Shape {
    int64_t tokens, key_heads, value_heads;  // of one sequence
    int64_t channels() const { return (2 * key_heads + value_heads) * D; }
    int64_t chunks() const { return (tokens + CHUNK - 1) / CHUNK; }
};

// What the recurrence reads of one sequence, rebuilt in the backward pass.
struct Sequence {
    std::vector<float> taps;    // [TAPS][channels]
    std::vector<float> padded;  // [TAPS - 1 + tokens][channels], the inputs
    std::vector<float> summed;  // [tokens][channels], before SiLU
    std::vector<float> ready;   // [tokens][channels]: q and k normalised, q scaled, v
    std::vector<float> inverse; // [tokens][2 * key_heads], 1 / norm
    std::vector<float> decay, beta;  // [tokens][value_heads]

    Sequence(const Shape& shape, const float* kernel)
        : taps(TAPS * shape.channels()), padded((shape.tokens + TAPS - 1) * shape.channels()),
          summed(shape.tokens * shape.channels()), ready(summed.size()),
          inverse(shape.tokens * 2 * shape.key_heads), decay(shape.tokens * shape.value_heads), beta(decay.size()) {
        for (int64_t c = 0; c < shape.channels(); c++)
            for (int i = 0; i < TAPS; i++) taps[i * shape.channels() + c] = kernel[c * TAPS + i];
    }

    // mixed [tokens][channels] bfloat16; gates [tokens][2][value_heads]: b, a.
    void fill(const Shape& shape, const uint16_t* mixed, const float* gates, const float* log_rate, const float* bias) {
        const int64_t width = shape.channels(), tokens = shape.tokens;
        for (int64_t i = 0; i < tokens * width; i++) padded[(TAPS - 1) * width + i] = widen(mixed[i]);
        for (int64_t t = 0; t < tokens; t++) {
            const float* in = &padded[t * width];
            float* sum = &summed[t * width];
            float* out = &ready[t * width];
            for (int64_t c = 0; c < width; c++)
                sum[c] = in[c] * taps[c] + in[width + c] * taps[width + c] + in[2 * width + c] * taps[2 * width + c] +
                         in[3 * width + c] * taps[3 * width + c];
            for (int64_t c = 0; c < width; c++) out[c] = sum[c] * sigmoid(sum[c]);
            for (int64_t h = 0; h < 2 * shape.key_heads; h++) {
                float* head = out + h * D;
                float square = EPS;
                for (int i = 0; i < D; i++) square += head[i] * head[i];
                const float scale = 1.0f / std::sqrt(square);
                inverse[t * 2 * shape.key_heads + h] = scale;
                const float factor = h < shape.key_heads ? scale * 0.125f : scale;  // 64^-0.5 for the queries
                for (int i = 0; i < D; i++) head[i] *= factor;
            }
            for (int64_t h = 0; h < shape.value_heads; h++) {
                const float* gate = gates + t * 2 * shape.value_heads;
                beta[t * shape.value_heads + h] = sigmoid(gate[h]);
                decay[t * shape.value_heads + h] =
                    std::exp(-std::exp(log_rate[h]) * softplus(gate[shape.value_heads + h] + bias[h]));
            }
        }
    }
};

int64_t longest(int64_t sequences, const int64_t* starts) {
    int64_t most = 0;
    for (int64_t i = 0; i < sequences; i++) most = std::max(most, starts[i + 1] - starts[i]);
    return most;
}

void transpose(const float* from, float* to) {
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) to[j * D + i] = from[i * D + j];
}

void run_head(const Shape& shape, const Sequence& s, int64_t head, float* output, float* writes, float* kept) {
    const int64_t width = shape.channels(), heads = shape.value_heads;
    const int64_t key_head = head / (heads / shape.key_heads);
    alignas(64) float state[D * D] = {};
    for (int64_t t = 0; t < shape.tokens; t++) {
        if (t % CHUNK == 0) transpose(state, kept + (t / CHUNK * heads + head) * D * D);
        const float* q = &s.ready[t * width + key_head * D];
        const float* k = q + shape.key_heads * D;
        const float* v = &s.ready[t * width + (2 * shape.key_heads + head) * D];
        const float g = s.decay[t * heads + head], beta = s.beta[t * heads + head];
        alignas(64) float read[D] = {}, out[D] = {};
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++) read[j] += k[i] * state[i * D + j];
        float* u = writes + (t * heads + head) * D;
        alignas(64) float write[D];
        for (int j = 0; j < D; j++) u[j] = write[j] = beta * (v[j] - g * read[j]);
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++) {
                const float next = g * state[i * D + j] + k[i] * write[j];
                state[i * D + j] = next;
                out[j] += q[i] * next;
            }
        std::memcpy(output + (t * heads + head) * D, out, sizeof(out));
    }
}

// Gradients of one head of one sequence; dq, dk [tokens][key_heads][D] are added to, dv [tokens][value_heads][D],
// d_decay and d_beta [tokens][value_heads] are written.
void run_head_back(
    const Shape& shape, const Sequence& s, int64_t head, const float* writes, const float* kept, const float* gradient,
    std::vector<float>& states, float* dq, float* dk, float* dv, float* d_decay, float* d_beta) {
    const int64_t width = shape.channels(), heads = shape.value_heads;
    const int64_t key_head = head / (heads / shape.key_heads);
    alignas(64) float into[D * D] = {};  // gradient of the state, transposed: [value][key]
    for (int64_t chunk = shape.chunks() - 1; chunk >= 0; chunk--) {
        const int64_t first = chunk * CHUNK, last = std::min<int64_t>(first + CHUNK, shape.tokens);
        std::memcpy(states.data(), kept + (chunk * heads + head) * D * D, sizeof(float) * D * D);
        for (int64_t t = first; t + 1 < last; t++) {
            const float* k = &s.ready[t * width + (shape.key_heads + key_head) * D];
            const float* u = writes + (t * heads + head) * D;
            const float g = s.decay[t * heads + head];
            const float* before = &states[(t - first) * D * D];
            float* after = &states[(t - first + 1) * D * D];
            for (int j = 0; j < D; j++)
                for (int i = 0; i < D; i++) after[j * D + i] = g * before[j * D + i] + u[j] * k[i];
        }
        for (int64_t t = last - 1; t >= first; t--) {
            const float* state = &states[(t - first) * D * D];  // before token t, [value][key]
            const float* q = &s.ready[t * width + key_head * D];
            const float* k = q + shape.key_heads * D;
            const float* v = &s.ready[t * width + (2 * shape.key_heads + head) * D];
            const float* u = writes + (t * heads + head) * D;
            const float* d_out = gradient + (t * heads + head) * D;
            const float g = s.decay[t * heads + head], beta = s.beta[t * heads + head];
            alignas(64) float to_q[D] = {}, to_k[D] = {}, read[D], du[D], dr[D], along[D] = {};
            float overlap = 0.0f;
            for (int j = 0; j < D; j++) {
                float sum = 0.0f, seen = 0.0f;
                for (int i = 0; i < D; i++) {
                    const float changed = into[j * D + i] + d_out[j] * q[i];
                    into[j * D + i] = changed;
                    sum += changed * k[i];
                    seen += state[j * D + i] * k[i];
                    to_q[i] += state[j * D + i] * d_out[j];
                }
                du[j] = sum;
                read[j] = seen;
                overlap += u[j] * d_out[j];
            }
            float to_beta = 0.0f, to_decay = 0.0f;
            float* value = dv + (t * heads + head) * D;
            for (int j = 0; j < D; j++) {
                to_beta += du[j] * (v[j] - g * read[j]);
                value[j] = beta * du[j];
                dr[j] = -beta * du[j];
                to_decay += dr[j] * read[j];
            }
            for (int j = 0; j < D; j++) {
                const float pull = g * dr[j];
                for (int i = 0; i < D; i++) {
                    const float change = into[j * D + i], was = state[j * D + i];
                    to_k[i] += change * u[j] + was * pull;
                    along[i] += change * was;
                    into[j * D + i] = g * change + pull * k[i];
                }
            }
            for (int i = 0; i < D; i++) to_decay += along[i];
            float* query = dq + (t * shape.key_heads + key_head) * D;
            float* key = dk + (t * shape.key_heads + key_head) * D;
            for (int i = 0; i < D; i++) {
                query[i] += g * to_q[i] + k[i] * overlap;
                key[i] += to_k[i];
            }
            d_decay[t * heads + head] = to_decay;
            d_beta[t * heads + head] = to_beta;
        }
    }
}

// out = gradient of x through y = x * factor / norm(x), written over dy; y is given.
void norm_back(const float* y, float inverse, float factor, float* dy) {
    float dot = 0.0f;
    for (int i = 0; i < D; i++) dot += y[i] * dy[i];
    const float scale = dot / (factor * factor);
    for (int i = 0; i < D; i++) dy[i] = inverse * factor * (dy[i] - y[i] * scale);
}

}  // namespace

extern "C" {

// Sequences one after the other, number i being the rows starts[i] to starts[i + 1]. mixed [rows][channels] bfloat16
// (q, k, v), gates [rows][2][value_heads] (b, a), kernel [channels][4] → output and writes [rows][value_heads][64], kept
// [chunks][value_heads][64 * 64], the chunks of all sequences one after the other.
void delta_forward(
    int64_t sequences, int64_t key_heads, int64_t value_heads, const int64_t* starts, const uint16_t* mixed,
    const float* gates, const float* kernel, const float* log_rate, const float* bias, float* output, float* writes,
    float* kept) {
    Shape shape{longest(sequences, starts), key_heads, value_heads};
    Sequence sequence(shape, kernel);
    for (int64_t i = 0; i < sequences; i++) {
        const int64_t first = starts[i], row = first * value_heads * D;
        shape.tokens = starts[i + 1] - first;
        sequence.fill(shape, mixed + first * shape.channels(), gates + first * 2 * value_heads, log_rate, bias);
        for (int64_t h = 0; h < value_heads; h++) run_head(shape, sequence, h, output + row, writes + row, kept);
        kept += shape.chunks() * value_heads * D * D;
    }
}

// gradient of output → d_mixed (bfloat16), d_gates; d_kernel [4][channels], d_log_rate and d_bias are added to.
void delta_backward(
    int64_t sequences, int64_t key_heads, int64_t value_heads, const int64_t* starts, const uint16_t* mixed,
    const float* gates, const float* kernel, const float* log_rate, const float* bias, const float* writes,
    const float* kept, const float* gradient, uint16_t* d_mixed, float* d_gates, float* d_kernel, float* d_log_rate,
    float* d_bias) {
    Shape shape{longest(sequences, starts), key_heads, value_heads};
    const int64_t width = shape.channels();
    Sequence sequence(shape, kernel);
    std::vector<float> states(CHUNK * D * D), dq, dk, dv(shape.tokens * value_heads * D),
        d_decay(shape.tokens * value_heads), d_beta(d_decay.size()), d_padded;
    for (int64_t i = 0; i < sequences; i++) {
        const int64_t first = starts[i], tokens = starts[i + 1] - first, row = first * value_heads * D;
        shape.tokens = tokens;
        const float* gate = gates + first * 2 * value_heads;
        float* d_gate = d_gates + first * 2 * value_heads;
        sequence.fill(shape, mixed + first * width, gate, log_rate, bias);
        dq.assign(tokens * key_heads * D, 0.0f);
        dk.assign(tokens * key_heads * D, 0.0f);
        d_padded.assign((tokens + TAPS - 1) * width, 0.0f);
        for (int64_t h = 0; h < value_heads; h++)
            run_head_back(
                shape, sequence, h, writes + row, kept, gradient + row, states, dq.data(), dk.data(), dv.data(),
                d_decay.data(), d_beta.data());
        kept += shape.chunks() * value_heads * D * D;
        for (int64_t t = 0; t < tokens; t++) {
            for (int64_t h = 0; h < value_heads; h++) {
                const float before = gate[(2 * t + 1) * value_heads + h] + bias[h], rate = std::exp(log_rate[h]);
                const float decay = sequence.decay[t * value_heads + h], beta = sequence.beta[t * value_heads + h];
                const float d_log = d_decay[t * value_heads + h] * decay;
                const float d_step = -d_log * rate * sigmoid(before);
                d_gate[2 * t * value_heads + h] = d_beta[t * value_heads + h] * beta * (1.0f - beta);
                d_gate[(2 * t + 1) * value_heads + h] = d_step;
                d_bias[h] += d_step;
                d_log_rate[h] -= d_log * rate * softplus(before);
            }
            for (int64_t h = 0; h < key_heads; h++) {
                const float* ready = &sequence.ready[t * width + h * D];
                const float* inverse = &sequence.inverse[t * 2 * key_heads + h];
                norm_back(ready, inverse[0], 0.125f, &dq[(t * key_heads + h) * D]);
                norm_back(ready + key_heads * D, inverse[key_heads], 1.0f, &dk[(t * key_heads + h) * D]);
            }
            float* change = &sequence.ready[t * width];  // what was there is not needed any more
            std::memcpy(change, &dq[t * key_heads * D], sizeof(float) * key_heads * D);
            std::memcpy(change + key_heads * D, &dk[t * key_heads * D], sizeof(float) * key_heads * D);
            std::memcpy(change + 2 * key_heads * D, &dv[t * value_heads * D], sizeof(float) * value_heads * D);
            const float* sum = &sequence.summed[t * width];
            for (int64_t c = 0; c < width; c++) {
                const float open = sigmoid(sum[c]);
                change[c] *= open * (1.0f + sum[c] * (1.0f - open));
            }
            for (int tap = 0; tap < TAPS; tap++) {
                const float* in = &sequence.padded[(t + tap) * width];
                const float* weight = &sequence.taps[tap * width];
                float* d_in = &d_padded[(t + tap) * width];
                float* d_weight = d_kernel + tap * width;
                for (int64_t c = 0; c < width; c++) {
                    d_in[c] += change[c] * weight[c];
                    d_weight[c] += change[c] * in[c];
                }
            }
        }
        uint16_t* out = d_mixed + first * width;
        for (int64_t c = 0; c < tokens * width; c++) out[c] = narrow(d_padded[(TAPS - 1) * width + c]);
    }
}

}  // extern "C"
