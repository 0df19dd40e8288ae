// Elementary functions over a vector of sixteen.
#pragma once

#include <cmath>

namespace qwill { namespace QWILL_ISA_NS {

// e^x to about 1 ulp: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for e^r, then scaled by 2^n in two steps so that
// results down to the smallest normal are right. Below -87.3 the result is 0, above 88.7 infinite.
inline F32x16 exp(F32x16 x) {
    const F32x16 clamped = min(max(x, broadcast(-126.0f * 0.69314718f)), broadcast(127.999f * 0.69314718f));
    const I32x16 n = round_i32(clamped * broadcast(1.44269504f));
    const F32x16 nf = to_f32(n);
    F32x16 r = fma(nf, broadcast(-0.693145751953125f), clamped);  // ln 2 in two parts, the first exact in 13 bits
    r = fma(nf, broadcast(-1.42860682e-6f), r);
    F32x16 p = broadcast(1.0f / 5040.0f);
    p = fma(p, r, broadcast(1.0f / 720.0f));
    p = fma(p, r, broadcast(1.0f / 120.0f));
    p = fma(p, r, broadcast(1.0f / 24.0f));
    p = fma(p, r, broadcast(1.0f / 6.0f));
    p = fma(p, r, broadcast(0.5f));
    p = fma(p, r, broadcast(1.0f));
    p = fma(p, r, broadcast(1.0f));
    // n can be 128 just below the overflow: 2^n as 2 * 2^(n - 1) would leave the exponent's range otherwise.
    const I32x16 half = round_i32(nf * broadcast(0.5f) - broadcast(0.25f));
    const I32x16 rest = round_i32(nf - to_f32(half));
    return p * power_of_two(half) * power_of_two(rest);
}

inline F32x16 sigmoid(F32x16 x) { return broadcast(1.0f) / (broadcast(1.0f) + exp(zero() - x)); }
inline F32x16 silu(F32x16 x) { return x / (broadcast(1.0f) + exp(zero() - x)); }

// Applies f(vector) over n floats, the last vector partly.
template <typename F>
inline void map(const float* x, float* out, int64_t n, const F& f) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) store(out + i, f(load(x + i)));
    if (i < n) store_first(out + i, f(load_first(x + i, n - i)), n - i);
}

// Sum of x[i] * y[i]: sixteen running sums, added at the end.
inline float dot(const float* x, const float* y, int64_t n) {
    F32x16 sum = zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) sum = fma(load(x + i), load(y + i), sum);
    if (i < n) sum = fma(load_first(x + i, n - i), load_first(y + i, n - i), sum);
    return reduce_add(sum);
}

}}  // namespace qwill::QWILL_ISA_NS
