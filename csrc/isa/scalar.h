// The vector types in plain C++, for any processor: what each operation means, lane by lane.
//
// Every instruction set offers vectors of the same sixteen lanes, so that an algorithm adds in the same order everywhere;
// AVX2, AVX-512 and NEON then agree to the bit. Plain C++ rounds twice in fma (a fused one is a slow library call without the
// hardware), which is the only difference.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace qwill { namespace scalar {

// How many F32x16 the registers hold: what kernels block their inner loops by.
constexpr int kRegisters = 8;

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
// Where a < b the lane of x, else that of y.
inline F32x16 select_less(const F32x16& a, const F32x16& b, const F32x16& x, const F32x16& y) {
    return lanes<F32x16>([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}

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
// Thirty-two BF16 numbers: an even and an odd one for each of the sixteen lanes.
struct BF16Pairs { uint16_t v[32]; };
inline BF16Pairs load_pairs(const void* p) { BF16Pairs r; std::memcpy(r.v, p, sizeof r.v); return r; }
inline BF16Pairs broadcast_pair(const uint32_t* x) {
    BF16Pairs r;
    for (int i = 0; i < 16; ++i) std::memcpy(r.v + 2 * i, x, sizeof *x);
    return r;
}
inline float bf16_to_f32(uint16_t h) {
    const uint32_t bits = static_cast<uint32_t>(h) << 16;
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
}
inline F32x16 load_bf16(const uint16_t* p) { return lanes<F32x16>([&](int i) { return bf16_to_f32(p[i]); }); }
// sum + the lane's odd product, then + its even one, each rounded once, as the processors' instruction does.
inline F32x16 dot2(const F32x16& sum, const BF16Pairs& w, const BF16Pairs& x) {
    return lanes<F32x16>([&](int i) {
        const float odd = bf16_to_f32(w.v[2 * i + 1]) * bf16_to_f32(x.v[2 * i + 1]) + sum.v[i];
        return bf16_to_f32(w.v[2 * i]) * bf16_to_f32(x.v[2 * i]) + odd;
    });
}
// Rounds to nearest, ties to even; subnormals become zero, as that instruction would take them.
inline uint16_t f32_to_bf16(float f) {
    uint32_t bits;
    std::memcpy(&bits, &f, sizeof bits);
    if (f != f) return static_cast<uint16_t>(bits >> 16 | 0x40u);
    if ((bits & 0x7f800000u) == 0) return static_cast<uint16_t>(bits >> 16 & 0x8000u);
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline void store_bf16(uint16_t* p, const F32x16& a) { for (int i = 0; i < 16; ++i) p[i] = f32_to_bf16(a.v[i]); }
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
// Lane i: the sum of the lanes of a[i], added as reduce_add does.
inline F32x16 reduce_add16(const F32x16* a) { return lanes<F32x16>([&](int i) { return reduce_add(a[i]); }); }
inline float reduce_max(const F32x16& a) {
    float m = a.v[0];
    for (int i = 1; i < 16; ++i) m = a.v[i] > m ? a.v[i] : m;
    return m;
}

// Sixty-four bytes: four for each of the sixteen lanes. S8x64 holds signed ones, ready to be multiplied.
struct S8x64 { int8_t v[64]; };
template <typename Result, typename Byte>
inline Result bytes(const Byte& byte) {
    Result r;
    for (int i = 0; i < 64; ++i) r.v[i] = static_cast<std::remove_reference_t<decltype(r.v[0])>>(byte(i));
    return r;
}
inline U8x64 load_bytes(const uint8_t* p) { U8x64 r; std::memcpy(r.v, p, sizeof r.v); return r; }
inline void store_bytes(uint8_t* p, const U8x64& a) { std::memcpy(p, a.v, sizeof a.v); }
inline U8x64 low_nibbles(const U8x64& a) { return bytes<U8x64>([&](int i) { return a.v[i] & 0x0f; }); }
inline U8x64 high_nibbles(const U8x64& a) { return bytes<U8x64>([&](int i) { return a.v[i] >> 4; }); }
inline U8x64 operator|(const U8x64& a, const U8x64& b) { return bytes<U8x64>([&](int i) { return a.v[i] | b.v[i]; }); }
// Shifts every byte so that bit `from` becomes bit `to`, then masks.
template <int from, int to, int mask>
inline U8x64 move_bits(const U8x64& a) { return bytes<U8x64>([&](int i) { return (a.v[i] << to >> from) & mask; }); }
// Entries of a table of sixteen.
inline U8x64 lookup(const int8_t* table, const U8x64& indices) { return bytes<U8x64>([&](int i) { return table[indices.v[i]]; }); }
// Bytes in two's complement.
inline S8x64 signed_bytes(const U8x64& a) { return bytes<S8x64>([&](int i) { return a.v[i]; }); }
inline I32x16 broadcast_i32(int32_t x) { return lanes<I32x16>([&](int) { return x; }); }
// *x / divisor, a power of two that divides it.
template <int divisor>
inline I32x16 broadcast_part(const int32_t* x) { return broadcast_i32(*x / divisor); }
// What a sum of dot4 with signed bytes starts from; `bias` is -128 times the sum of the x that will be multiplied.
inline I32x16 signed_dot_start(const int32_t*) { return I32x16{}; }
// The same where every byte is 128 less than what is meant.
inline I32x16 lowered_dot_start(const int32_t* bias) { return broadcast_i32(-*bias); }
// sum[lane] += the lane's four bytes times the four signed bytes of *x; unsigned bytes must be below 128, and x above -128.
template <typename Bytes>
__attribute__((noinline)) I32x16 dot4(const I32x16& sum, const Bytes& w, const int32_t* x) {
    int8_t four[4];
    std::memcpy(four, x, sizeof four);
    return lanes<I32x16>([&](int i) {
        return sum.v[i] + w.v[4 * i] * four[0] + w.v[4 * i + 1] * four[1] + w.v[4 * i + 2] * four[2] + w.v[4 * i + 3] * four[3];
    });
}
inline F32x16 load_u8(const uint8_t* p) { return lanes<F32x16>([&](int i) { return static_cast<float>(p[i]); }); }
inline F32x16 load_s8(const uint8_t* p) { return lanes<F32x16>([&](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); }); }
// 2^(byte - 127); 0 gives 0.
inline F32x16 load_exponents(const uint8_t* p) {
    return lanes<F32x16>([&](int i) {
        const uint32_t bits = static_cast<uint32_t>(p[i]) << 23;
        float f;
        std::memcpy(&f, &bits, sizeof f);
        return f;
    });
}
// FP8 E4M3, not NaN: the bits, moved into a half, are the same number divided by 2^8.
inline F32x16 load_e4m3(const uint8_t* p) {
    return lanes<F32x16>([&](int i) {
        return 256.0f * f16_to_f32(static_cast<uint16_t>((p[i] & 0x80) << 8 | (p[i] & 0x7f) << 7));
    });
}
// Word 4 * i + r: lanes 4 * i to 4 * i + 3 of row r.
inline void store_i8_words(int32_t* p, const I32x16 (&rows)[4]) {
    auto* bytes = reinterpret_cast<int8_t*>(p);
    for (int i = 0; i < 64; ++i) bytes[i] = static_cast<int8_t>(rows[i / 4 % 4].v[i / 16 * 4 + i % 4]);
}
inline void store_i8(int8_t* p, const I32x16& a) { for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(a.v[i]); }
inline int32_t reduce_add(const I32x16& a) {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i) sum += a.v[i];
    return sum;
}

}}  // namespace qwill::scalar
