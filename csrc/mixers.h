// Argument structs of norms and token mixers. Arrays are row-major and contiguous.
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

struct MixerKernels {
    void (*rms_norm)(const RmsNormArgs&, ThreadPool&);
};

}  // namespace qwill
