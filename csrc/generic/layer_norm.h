// LayerNorm over rows.
#pragma once

#include <cmath>

#include "generic/math.h"
#include "generic/rows.h"
#include "mixers.h"

namespace qwill { namespace QWILL_ISA_NS {

// Two passes, the mean first: the variance of values far from zero keeps its digits.
inline void layer_norm_row(const LayerNormArgs& args, const float* x, float* out) {
    const float count = static_cast<float>(args.width);
    const F32x16 mean = broadcast(sum_over(args.width, [&](auto get, F32x16 sum) { return sum + get(x); }) / count);
    for_vectors(args.width, [&](auto get, auto put) { put(out, get(x) - mean); });
    const F32x16 scale = broadcast(1.0f / std::sqrt(dot(out, out, args.width) / count + args.eps));
    for_vectors(args.width, [&](auto get, auto put) { put(out, fma(get(out) * scale, get(args.weight), get(args.bias))); });
}

inline void layer_norm(const LayerNormArgs& args, ThreadPool& pool) {
    for_rows(pool, args.tokens, args.width, [&](int64_t t, int) {
        layer_norm_row(args, args.x + t * args.width, args.out + t * args.width);
    });
}

}}  // namespace qwill::QWILL_ISA_NS
