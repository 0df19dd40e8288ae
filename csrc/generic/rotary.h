// Rotary positions, rotate-half.
#pragma once

#include "generic/math.h"

namespace qwill { namespace QWILL_ISA_NS {

// Turns the pairs (x[i], x[i + half]) by the angles whose `half` cosines and sines are given. out may be x.
inline void rotate_half(const float* x, const float* cos, const float* sin, int64_t half, float* out) {
    for_vectors(half, [&](auto get, auto put) {
        const F32x16 first = get(x), second = get(x + half), c = get(cos), s = get(sin);
        put(out, first * c - second * s);
        put(out + half, second * c + first * s);
    });
}

}}  // namespace qwill::QWILL_ISA_NS
