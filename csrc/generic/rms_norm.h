// RMSNorm over rows.
#pragma once

#include <cmath>

#include "generic/math.h"
#include "generic/rows.h"
#include "mixers.h"

namespace qwill { namespace QWILL_ISA_NS {

// 1 / sqrt(mean(x^2) + eps)
inline float inverse_rms(const float* x, int64_t width, float eps) {
    return 1.0f / std::sqrt(dot(x, x, width) / static_cast<float>(width) + eps);
}

inline void rms_norm_row(const float* x, const float* weight, float* out, int64_t width, float eps) {
    const F32x16 scale = broadcast(inverse_rms(x, width, eps));
    for_vectors(width, [&](auto get, auto put) { put(out, get(x) * scale * get(weight)); });
}

inline void rms_norm(const RmsNormArgs& args, ThreadPool& pool) {
    for_rows(pool, args.tokens, args.width, [&](int64_t t, int) {
        rms_norm_row(args.x + t * args.width, args.weight, args.out + t * args.width, args.width, args.eps);
    });
}

}}  // namespace qwill::QWILL_ISA_NS
