// RMSNorm over rows.
#pragma once

#include <cmath>

#include "generic/math.h"
#include "mixers.h"
#include "threads.h"

namespace qwill { namespace QWILL_ISA_NS {

inline void rms_norm_row(const float* x, const float* weight, float* out, int64_t width, float eps) {
    const float scale = 1.0f / std::sqrt(dot(x, x, width) / static_cast<float>(width) + eps);
    const F32x16 scales = broadcast(scale);
    int64_t i = 0;
    for (; i + 16 <= width; i += 16) store(out + i, load(x + i) * scales * load(weight + i));
    if (i < width) {
        const int64_t n = width - i;
        store_first(out + i, load_first(x + i, n) * scales * load_first(weight + i, n), n);
    }
}

inline void rms_norm(const RmsNormArgs& args, ThreadPool& pool) {
    pool.run(args.tokens, [&](int64_t t, int) {
        rms_norm_row(args.x + t * args.width, args.weight, args.out + t * args.width, args.width, args.eps);
    });
}

}}  // namespace qwill::QWILL_ISA_NS
