// Vector types over NEON with the dot product of ARMv8.2: four registers make one vector of sixteen. See scalar.h for the
// meaning.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace qwill { namespace QWILL_ISA_NS {

constexpr int kRegisters = 8;

struct F32x16 { float32x4_t v0, v1, v2, v3; };
struct I32x16 { int32x4_t v0, v1, v2, v3; };
struct U8x64 { uint8x16_t v0, v1, v2, v3; };
struct S8x64 { int8x16_t v0, v1, v2, v3; };

// f of each register; make(i) for each register's index.
template <typename Result, typename F, typename... Vectors>
inline Result each(const F& f, const Vectors&... x) {
    return {f(x.v0...), f(x.v1...), f(x.v2...), f(x.v3...)};
}
template <typename Result, typename Make>
inline Result four(const Make& make) {
    return {make(0), make(1), make(2), make(3)};
}

inline F32x16 load(const float* p) { return four<F32x16>([&](int i) { return vld1q_f32(p + 4 * i); }); }
inline void store(float* p, F32x16 a) {
    vst1q_f32(p, a.v0);
    vst1q_f32(p + 4, a.v1);
    vst1q_f32(p + 8, a.v2);
    vst1q_f32(p + 12, a.v3);
}
inline F32x16 load_first(const float* p, int64_t n) {
    float lanes[16] = {};
    std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
    return load(lanes);
}
inline void store_first(float* p, F32x16 a, int64_t n) {
    float lanes[16];
    store(lanes, a);
    std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
}
inline F32x16 broadcast(float x) { return four<F32x16>([&](int) { return vdupq_n_f32(x); }); }
inline F32x16 zero() { return broadcast(0.0f); }
inline F32x16 operator+(F32x16 a, F32x16 b) { return each<F32x16>([](auto x, auto y) { return vaddq_f32(x, y); }, a, b); }
inline F32x16 operator-(F32x16 a, F32x16 b) { return each<F32x16>([](auto x, auto y) { return vsubq_f32(x, y); }, a, b); }
inline F32x16 operator*(F32x16 a, F32x16 b) { return each<F32x16>([](auto x, auto y) { return vmulq_f32(x, y); }, a, b); }
inline F32x16 operator/(F32x16 a, F32x16 b) { return each<F32x16>([](auto x, auto y) { return vdivq_f32(x, y); }, a, b); }
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
    return each<F32x16>([](auto x, auto y, auto z) { return vfmaq_f32(z, x, y); }, a, b, c);
}
// Compared and selected: the instructions for min and max would give NaN when the first operand is NaN, and order zeros.
inline float32x4_t min(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline float32x4_t max(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline F32x16 min(F32x16 a, F32x16 b) { return each<F32x16>([](auto x, auto y) { return min(x, y); }, a, b); }
inline F32x16 max(F32x16 a, F32x16 b) { return each<F32x16>([](auto x, auto y) { return max(x, y); }, a, b); }
inline F32x16 abs(F32x16 a) { return each<F32x16>([](auto x) { return vabsq_f32(x); }, a); }
inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
    return {vbslq_f32(vcltq_f32(a.v0, b.v0), x.v0, y.v0), vbslq_f32(vcltq_f32(a.v1, b.v1), x.v1, y.v1),
            vbslq_f32(vcltq_f32(a.v2, b.v2), x.v2, y.v2), vbslq_f32(vcltq_f32(a.v3, b.v3), x.v3, y.v3)};
}

inline F32x16 load_f16(const uint16_t* p) {
    return four<F32x16>([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
}
inline F32x16 load_bf16(const uint16_t* p) {
    return four<F32x16>([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
}
inline void store_f16(uint16_t* p, F32x16 a) {
    const auto half = [](float32x4_t x) { return vreinterpret_u16_f16(vcvt_f16_f32(x)); };
    vst1_u16(p, half(a.v0));
    vst1_u16(p + 4, half(a.v1));
    vst1_u16(p + 8, half(a.v2));
    vst1_u16(p + 12, half(a.v3));
}
struct BF16Pairs { uint32x4_t v0, v1, v2, v3; };
inline BF16Pairs load_pairs(const void* p) {
    const auto* pairs = static_cast<const uint32_t*>(p);
    return {vld1q_u32(pairs), vld1q_u32(pairs + 4), vld1q_u32(pairs + 8), vld1q_u32(pairs + 12)};
}
inline BF16Pairs broadcast_pair(const uint32_t* x) { return four<BF16Pairs>([&](int) { return vdupq_n_u32(*x); }); }
inline F32x16 dot2(F32x16 sum, BF16Pairs w, BF16Pairs x) {
    return each<F32x16>([](auto s, auto a, auto b) {
        const uint32x4_t odd = vdupq_n_u32(0xffff0000u);
        s = vfmaq_f32(s, vreinterpretq_f32_u32(vandq_u32(a, odd)), vreinterpretq_f32_u32(vandq_u32(b, odd)));
        return vfmaq_f32(s, vreinterpretq_f32_u32(vshlq_n_u32(a, 16)), vreinterpretq_f32_u32(vshlq_n_u32(b, 16)));
    }, sum, w, x);
}
inline uint16x4_t bf16_bits(float32x4_t a) {
    const uint32x4_t bits = vreinterpretq_u32_f32(a), high = vshrq_n_u32(bits, 16);
    const uint32x4_t up = vaddq_u32(vandq_u32(high, vdupq_n_u32(1)), vdupq_n_u32(0x7fff));
    uint32x4_t value = vshrq_n_u32(vaddq_u32(bits, up), 16);
    value = vbslq_u32(vceqq_f32(a, a), value, vorrq_u32(high, vdupq_n_u32(0x40)));
    const uint32x4_t normal = vtstq_u32(bits, vdupq_n_u32(0x7f800000u));
    return vmovn_u32(vbslq_u32(normal, value, vandq_u32(high, vdupq_n_u32(0x8000))));
}
inline void store_bf16(uint16_t* p, F32x16 a) {
    vst1q_u16(p, vcombine_u16(bf16_bits(a.v0), bf16_bits(a.v1)));
    vst1q_u16(p + 8, vcombine_u16(bf16_bits(a.v2), bf16_bits(a.v3)));
}
inline I32x16 round_i32(F32x16 a) { return each<I32x16>([](auto x) { return vcvtnq_s32_f32(x); }, a); }
inline F32x16 to_f32(I32x16 a) { return each<F32x16>([](auto x) { return vcvtq_f32_s32(x); }, a); }
inline F32x16 power_of_two(I32x16 n) {
    return each<F32x16>([](auto x) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(x, vdupq_n_s32(127)), 23)); }, n);
}
// Lane i of four, to which the lanes i + 4, i + 8 and i + 12 were added.
inline float32x4_t reduce_add4(F32x16 a) { return vaddq_f32(vaddq_f32(a.v0, a.v2), vaddq_f32(a.v1, a.v3)); }
inline float reduce_add(F32x16 a) {
    const float32x4_t quad = reduce_add4(a);
    return vpadds_f32(vadd_f32(vget_low_f32(quad), vget_high_f32(quad)));
}
inline F32x16 reduce_add16(const F32x16* a) {
    const auto pairs = [&](int i) {
        const float64x2_t x = vreinterpretq_f64_f32(reduce_add4(a[i])), y = vreinterpretq_f64_f32(reduce_add4(a[i + 1]));
        return vaddq_f32(vreinterpretq_f32_f64(vzip1q_f64(x, y)), vreinterpretq_f32_f64(vzip2q_f64(x, y)));
    };
    return four<F32x16>([&](int i) { return vpaddq_f32(pairs(4 * i), pairs(4 * i + 2)); });
}
inline float reduce_max(F32x16 a) { return vmaxvq_f32(max(max(a.v0, a.v2), max(a.v1, a.v3))); }

// Bytes. The products of both kinds are signed ones: unsigned weights are below 128.
inline U8x64 load_bytes(const uint8_t* p) { return four<U8x64>([&](int i) { return vld1q_u8(p + 16 * i); }); }
inline void store_bytes(uint8_t* p, U8x64 a) {
    vst1q_u8(p, a.v0);
    vst1q_u8(p + 16, a.v1);
    vst1q_u8(p + 32, a.v2);
    vst1q_u8(p + 48, a.v3);
}
inline U8x64 low_nibbles(U8x64 a) { return each<U8x64>([](auto x) { return vandq_u8(x, vdupq_n_u8(0x0f)); }, a); }
inline U8x64 high_nibbles(U8x64 a) { return each<U8x64>([](auto x) { return vshrq_n_u8(x, 4); }, a); }
inline U8x64 operator|(U8x64 a, U8x64 b) { return each<U8x64>([](auto x, auto y) { return vorrq_u8(x, y); }, a, b); }
template <int from, int to, int mask>
inline uint8x16_t move_bits(uint8x16_t a) {
    if constexpr (from > to) a = vshrq_n_u8(a, from - to);
    if constexpr (from < to) a = vshlq_n_u8(a, to - from);
    return vandq_u8(a, vdupq_n_u8(mask));
}
template <int from, int to, int mask>
inline U8x64 move_bits(U8x64 a) { return each<U8x64>([](auto x) { return move_bits<from, to, mask>(x); }, a); }
inline U8x64 lookup(const int8_t* table, U8x64 indices) {
    const uint8x16_t entries = vreinterpretq_u8_s8(vld1q_s8(table));
    return each<U8x64>([&](auto x) { return vqtbl1q_u8(entries, x); }, indices);
}
inline S8x64 signed_bytes(U8x64 a) { return each<S8x64>([](auto x) { return vreinterpretq_s8_u8(x); }, a); }
inline I32x16 broadcast_i32(int32_t x) { return four<I32x16>([&](int) { return vdupq_n_s32(x); }); }
template <int divisor>
inline I32x16 broadcast_part(const int32_t* x) { return broadcast_i32(*x / divisor); }
inline I32x16 signed_dot_start(const int32_t*) { return broadcast_i32(0); }
inline I32x16 lowered_dot_start(const int32_t* bias) { return broadcast_i32(-*bias); }
inline I32x16 dot4(I32x16 sum, S8x64 w, const int32_t* x) {
    const int8x16_t bytes = vreinterpretq_s8_s32(vld1q_dup_s32(x));
    return each<I32x16>([&](auto s, auto y) { return vdotq_s32(s, y, bytes); }, sum, w);
}
inline I32x16 dot4(I32x16 sum, U8x64 w, const int32_t* x) { return dot4(sum, signed_bytes(w), x); }

// Sixteen bytes, widened.
inline uint32x4_t quarter(uint8x16_t bytes, int i) {
    const uint16x8_t wide = i < 2 ? vmovl_u8(vget_low_u8(bytes)) : vmovl_high_u8(bytes);
    return i % 2 == 0 ? vmovl_u16(vget_low_u16(wide)) : vmovl_high_u16(wide);
}
inline int32x4_t quarter(int8x16_t bytes, int i) {
    const int16x8_t wide = i < 2 ? vmovl_s8(vget_low_s8(bytes)) : vmovl_high_s8(bytes);
    return i % 2 == 0 ? vmovl_s16(vget_low_s16(wide)) : vmovl_high_s16(wide);
}
inline F32x16 load_u8(const uint8_t* p) {
    const uint8x16_t bytes = vld1q_u8(p);
    return four<F32x16>([&](int i) { return vcvtq_f32_u32(quarter(bytes, i)); });
}
inline F32x16 load_s8(const uint8_t* p) {
    const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(p));
    return four<F32x16>([&](int i) { return vcvtq_f32_s32(quarter(bytes, i)); });
}
inline F32x16 load_exponents(const uint8_t* p) {
    const uint8x16_t bytes = vld1q_u8(p);
    return four<F32x16>([&](int i) { return vreinterpretq_f32_u32(vshlq_n_u32(quarter(bytes, i), 23)); });
}
// The bits of an E4M3 number, moved into a half, are the same number divided by 2^8, subnormals too.
inline F32x16 load_e4m3(const uint8_t* p) {
    const uint8x16_t bytes = vld1q_u8(p);
    const auto convert = [](uint16x4_t wide) {
        const uint16x4_t sign = vshl_n_u16(vand_u16(wide, vdup_n_u16(0x80)), 8);
        const uint16x4_t magnitude = vshl_n_u16(vand_u16(wide, vdup_n_u16(0x7f)), 7);
        return vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(vorr_u16(sign, magnitude))), 256.0f);
    };
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_high_u8(bytes);
    return {convert(vget_low_u16(low)), convert(vget_high_u16(low)), convert(vget_low_u16(high)), convert(vget_high_u16(high))};
}
inline void store_words(int32_t* p, int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
    const int16x8_t first = vcombine_s16(vmovn_s32(a), vmovn_s32(b)), second = vcombine_s16(vmovn_s32(c), vmovn_s32(d));
    vst1q_s8(reinterpret_cast<int8_t*>(p), vcombine_s8(vmovn_s16(first), vmovn_s16(second)));
}
inline void store_i8_words(int32_t* p, const I32x16 (&rows)[4]) {
    store_words(p, rows[0].v0, rows[1].v0, rows[2].v0, rows[3].v0);
    store_words(p + 4, rows[0].v1, rows[1].v1, rows[2].v1, rows[3].v1);
    store_words(p + 8, rows[0].v2, rows[1].v2, rows[2].v2, rows[3].v2);
    store_words(p + 12, rows[0].v3, rows[1].v3, rows[2].v3, rows[3].v3);
}
inline void store_i8(int8_t* p, I32x16 a) {
    const int16x8_t low = vcombine_s16(vmovn_s32(a.v0), vmovn_s32(a.v1)), high = vcombine_s16(vmovn_s32(a.v2), vmovn_s32(a.v3));
    vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}
inline int32_t reduce_add(I32x16 a) {
    return vaddvq_s32(vaddq_s32(vaddq_s32(a.v0, a.v1), vaddq_s32(a.v2, a.v3)));
}

}}  // namespace qwill::QWILL_ISA_NS
