// The vector types in plain C++, for any processor: what each operation means, lane by lane.
//
// Every instruction set offers vectors of the same sixteen lanes, so that an algorithm adds in the same order everywhere;
// AVX2 and AVX-512 then agree to the bit. Plain C++ rounds twice in fma (a fused one is a slow library call without the
// hardware), which is the only difference.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace qwill { namespace scalar {

struct F32x16 { float v[16]; };
struct I32x16 { int32_t v[16]; };
struct U8x64 { uint8_t v[64]; };

template <typename Result, typename Lane>
inline Result lanes(const Lane& lane) {
    Result r;
    for (int i = 0; i < 16; ++i) r.v[i] = lane(i);
    return r;
}

inline F32x16 load(const float* p) { F32x16 r; std::memcpy(r.v, p, sizeof r.v); return r; }
inline void store(float* p, const F32x16& a) { std::memcpy(p, a.v, sizeof a.v); }
// The first n lanes (0 <= n < 16); the others are zero, or are not written.
inline F32x16 load_first(const float* p, int64_t n) {
    F32x16 r{};
    std::memcpy(r.v, p, static_cast<size_t>(n) * sizeof(float));
    return r;
}
inline void store_first(float* p, const F32x16& a, int64_t n) { std::memcpy(p, a.v, static_cast<size_t>(n) * sizeof(float)); }
inline F32x16 broadcast(float x) { return lanes<F32x16>([&](int) { return x; }); }
inline F32x16 zero() { return F32x16{}; }
inline F32x16 operator+(const F32x16& a, const F32x16& b) { return lanes<F32x16>([&](int i) { return a.v[i] + b.v[i]; }); }
inline F32x16 operator-(const F32x16& a, const F32x16& b) { return lanes<F32x16>([&](int i) { return a.v[i] - b.v[i]; }); }
inline F32x16 operator*(const F32x16& a, const F32x16& b) { return lanes<F32x16>([&](int i) { return a.v[i] * b.v[i]; }); }
inline F32x16 operator/(const F32x16& a, const F32x16& b) { return lanes<F32x16>([&](int i) { return a.v[i] / b.v[i]; }); }
// a * b + c
inline F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
    return lanes<F32x16>([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline F32x16 min(const F32x16& a, const F32x16& b) { return lanes<F32x16>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
inline F32x16 max(const F32x16& a, const F32x16& b) { return lanes<F32x16>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline F32x16 abs(const F32x16& a) { return lanes<F32x16>([&](int i) { return std::fabs(a.v[i]); }); }

inline float f16_to_f32(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu, mantissa = h & 0x3ffu, bits;
    if (exponent == 0x1f) {
        bits = sign | 0x7f800000u | (mantissa << 13) | (mantissa != 0 ? 0x400000u : 0u);
    } else if (exponent != 0) {
        bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
    } else {
        const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
}
// Rounds to nearest, ties to even.
inline uint16_t f32_to_f16(float f) {
    uint32_t bits;
    std::memcpy(&bits, &f, sizeof bits);
    const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return sign | 0x7e00u | static_cast<uint16_t>((bits >> 13) & 0x1ffu);
    if (bits >= 0x477ff000u) return sign | 0x7c00u;
    if (bits < 0x38800000u) {  // subnormal: adding 0.5 leaves the rounded result in the low bits
        float magnitude;
        std::memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += 0.5f;
        std::memcpy(&bits, &magnitude, sizeof bits);
        return sign | static_cast<uint16_t>(bits - 0x3f000000u);
    }
    return sign | static_cast<uint16_t>((bits - 0x38000000u + 0xfffu + ((bits >> 13) & 1u)) >> 13);
}
inline F32x16 load_f16(const uint16_t* p) { return lanes<F32x16>([&](int i) { return f16_to_f32(p[i]); }); }
inline void store_f16(uint16_t* p, const F32x16& a) { for (int i = 0; i < 16; ++i) p[i] = f32_to_f16(a.v[i]); }
inline F32x16 load_bf16(const uint16_t* p) {
    return lanes<F32x16>([&](int i) {
        const uint32_t bits = static_cast<uint32_t>(p[i]) << 16;
        float f;
        std::memcpy(&f, &bits, sizeof f);
        return f;
    });
}
// To the nearest integer, ties to even; the value must fit.
inline I32x16 round_i32(const F32x16& a) { return lanes<I32x16>([&](int i) { return static_cast<int32_t>(std::nearbyintf(a.v[i])); }); }
inline F32x16 to_f32(const I32x16& a) { return lanes<F32x16>([&](int i) { return static_cast<float>(a.v[i]); }); }
// 2^n for -127 <= n <= 127; n = -127 gives 0.
inline F32x16 power_of_two(const I32x16& n) {
    return lanes<F32x16>([&](int i) {
        const uint32_t bits = static_cast<uint32_t>(n.v[i] + 127) << 23;
        float f;
        std::memcpy(&f, &bits, sizeof f);
        return f;
    });
}
// Halves are added pairwise: lane i to i + 8, then i + 4, i + 2, i + 1.
inline float reduce_add(const F32x16& a) {
    float s[16];
    std::memcpy(s, a.v, sizeof s);
    for (int half = 8; half > 0; half /= 2) for (int i = 0; i < half; ++i) s[i] += s[i + half];
    return s[0];
}
inline float reduce_max(const F32x16& a) {
    float m = a.v[0];
    for (int i = 1; i < 16; ++i) m = a.v[i] > m ? a.v[i] : m;
    return m;
}

}}  // namespace qwill::scalar
