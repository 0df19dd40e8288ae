// Row movements and activation of routed experts in bfloat16, for training on a CPU.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "bfloat16.h"

extern "C" {

// to[i] = from[index[i] / picks], rows of `width` bfloat16; a negative index gives zeros.
void gather_rows(int64_t rows, int64_t width, int64_t picks, const int64_t* index, const uint16_t* from, uint16_t* to) {
    for (int64_t i = 0; i < rows; i++)
        if (index[i] < 0)
            std::memset(to + i * width, 0, 2 * width);
        else
            std::memcpy(to + i * width, from + index[i] / picks * width, 2 * width);
}

// to[i] = sum of from[index[i * picks + j]] over j, float32.
void gather_sum(int64_t rows, int64_t width, int64_t picks, const int64_t* index, const uint16_t* from, float* to) {
    for (int64_t i = 0; i < rows; i++) {
        float* out = to + i * width;
        for (int64_t c = 0; c < width; c++) out[c] = 0.0f;
        for (int64_t j = 0; j < picks; j++) {
            const uint16_t* in = from + index[i * picks + j] * width;
            for (int64_t c = 0; c < width; c++) out[c] += widen(in[c]);
        }
    }
}

// both [rows][2 * width] (gate, up), weights [rows] → out = silu(gate) * up * weight.
void activate(int64_t rows, int64_t width, const uint16_t* both, const float* weights, uint16_t* out) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c++) {
            const float gate = widen(both[2 * i * width + c]), up = widen(both[(2 * i + 1) * width + c]);
            out[i * width + c] = narrow(gate / (1.0f + std::exp(-gate)) * up * weights[i]);
        }
}

// gradient of `out` above → gradient of both and of the weights; `out` itself is made again.
void activate_back(
    int64_t rows, int64_t width, const uint16_t* both, const float* weights, const uint16_t* gradient, uint16_t* out,
    uint16_t* d_both, float* d_weights) {
    for (int64_t i = 0; i < rows; i++) {
        float along = 0.0f;
        for (int64_t c = 0; c < width; c++) {
            const float gate = widen(both[2 * i * width + c]), up = widen(both[(2 * i + 1) * width + c]);
            const float change = widen(gradient[i * width + c]);
            const float open = 1.0f / (1.0f + std::exp(-gate)), active = gate * open;
            along += change * active * up;
            out[i * width + c] = narrow(active * up * weights[i]);
            d_both[2 * i * width + c] = narrow(change * weights[i] * up * (open + active * (1.0f - open)));
            d_both[(2 * i + 1) * width + c] = narrow(change * weights[i] * active);
        }
        d_weights[i] = along;
    }
}

}  // extern "C"
