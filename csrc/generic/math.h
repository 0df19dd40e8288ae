// Elementary functions over a vector of sixteen.
#pragma once

#include <cmath>

namespace qwill { namespace QWILL_ISA_NS {

// e^x within 2 ulp: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for e^r, then scaled by 2^n as 2 * 2^(n - 1), so that n
// may be 128 just below the overflow. Results under 2^-125.5 (x < -86.99) are 0, subnormals never appear; above 88.7228 the
// result is infinite; NaN stays NaN.
inline F32x16 exp(F32x16 x) {
    // The operands' order matters: min and max return the second one when either is NaN.
    const F32x16 clamped = min(broadcast(88.73f), max(broadcast(-87.33f), x));
    const I32x16 m = round_i32(fma(clamped, broadcast(1.44269504f), broadcast(-1.0f)));
    const F32x16 n = to_f32(m) + broadcast(1.0f);
    F32x16 r = fma(n, broadcast(-0.693145751953125f), clamped);  // ln 2 in two parts, the product with the first exact
    r = fma(n, broadcast(-1.42860682e-6f), r);
    F32x16 p = broadcast(1.0f / 5040.0f);
    p = fma(p, r, broadcast(1.0f / 720.0f));
    p = fma(p, r, broadcast(1.0f / 120.0f));
    p = fma(p, r, broadcast(1.0f / 24.0f));
    p = fma(p, r, broadcast(1.0f / 6.0f));
    p = fma(p, r, broadcast(0.5f));
    p = fma(p, r, broadcast(1.0f));
    p = fma(p, r, broadcast(1.0f));
    return (p + p) * power_of_two(m);
}

inline F32x16 sigmoid(F32x16 x) { return broadcast(1.0f) / (broadcast(1.0f) + exp(zero() - x)); }
inline F32x16 silu(F32x16 x) { return x / (broadcast(1.0f) + exp(zero() - x)); }

// ln(1 + u) for 0 <= u <= 1, without cancellation: 2 artanh(s) with s = u / (2 + u) <= 1/3, as its series.
inline F32x16 log1p_unit(F32x16 u) {
    const F32x16 s = u / (broadcast(2.0f) + u), square = s * s;
    F32x16 p = broadcast(1.0f / 17.0f);
    for (int odd = 15; odd >= 1; odd -= 2) p = fma(p, square, broadcast(1.0f / static_cast<float>(odd)));
    return (s + s) * p;
}

// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)
inline F32x16 softplus(F32x16 x) { return max(x, zero()) + log1p_unit(exp(zero() - abs(x))); }

// Calls f(load, store) for every sixteen of n floats; the last ones load and store partly.
template <typename F>
inline void for_vectors(int64_t n, const F& f) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) f([i](const float* p) { return load(p + i); }, [i](float* p, F32x16 a) { store(p + i, a); });
    if (i < n) {
        const int64_t rest = n - i;
        f([i, rest](const float* p) { return load_first(p + i, rest); },
          [i, rest](float* p, F32x16 a) { store_first(p + i, a, rest); });
    }
}

// Applies f(vector) over n floats.
template <typename F>
inline void map(const float* x, float* out, int64_t n, const F& f) {
    for_vectors(n, [&](auto get, auto put) { put(out, f(get(x))); });
}

// sum = f(load, sum) over n floats, with four vectors of running sums; lanes past the end load 0 and must add 0.
template <typename F>
inline float sum_over(int64_t n, const F& f) {
    F32x16 sums[4] = {zero(), zero(), zero(), zero()};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        for (int j = 0; j < 4; ++j) {
            const int64_t at = i + 16 * j;
            sums[j] = f([at](const float* p) { return load(p + at); }, sums[j]);
        }
    }
    for (int j = 0; i + 16 <= n; i += 16, ++j) sums[j] = f([i](const float* p) { return load(p + i); }, sums[j]);
    if (i < n) {
        const int64_t rest = n - i;
        sums[3] = f([i, rest](const float* p) { return load_first(p + i, rest); }, sums[3]);
    }
    return reduce_add((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

inline float dot(const float* x, const float* y, int64_t n) {
    return sum_over(n, [&](auto get, F32x16 sum) { return fma(get(x), get(y), sum); });
}

}}  // namespace qwill::QWILL_ISA_NS
