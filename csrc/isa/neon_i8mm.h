// Vector types over NEON with products of int8 matrices (ARMv8.6's SMMLA): those of neon.h, and operations over vectors whose
// lanes are eight rows by two tokens, both tokens of a row side by side (generic/linear/matrix_tile.h).
#pragma once

#include "isa/neon.h"

namespace qwill { namespace QWILL_ISA_NS {

inline S8x64 as_signed(S8x64 a) { return a; }
inline S8x64 as_signed(U8x64 a) { return signed_bytes(a); }  // below 128
inline U8x64 unsigned_bytes(S8x64 a) { return each<U8x64>([](auto x) { return vreinterpretq_u8_s8(x); }, a); }

inline int8x16_t first_words(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s32(vzip1q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}
inline int8x16_t second_words(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s32(vzip2q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}
// Rows 8 * half and following of sixteen: a row's four bytes of a, then its four of b.
template <int half>
inline S8x64 eight_rows(S8x64 a, S8x64 b) {
    const int8x16_t a0 = half == 0 ? a.v0 : a.v2, b0 = half == 0 ? b.v0 : b.v2;
    const int8x16_t a1 = half == 0 ? a.v1 : a.v3, b1 = half == 0 ? b.v1 : b.v3;
    return {first_words(a0, b0), second_words(a0, b0), first_words(a1, b1), second_words(a1, b1)};
}
// Lanes of those rows, each twice.
template <int half>
inline F32x16 rows_twice(F32x16 a) {
    const float32x4_t a0 = half == 0 ? a.v0 : a.v2, a1 = half == 0 ? a.v1 : a.v3;
    return {vzip1q_f32(a0, a0), vzip2q_f32(a0, a0), vzip1q_f32(a1, a1), vzip2q_f32(a1, a1)};
}
// sum[row, token] += the row's eight bytes times the token's; x: eight signed bytes of the one token and eight of the other.
inline I32x16 dot8(I32x16 sum, S8x64 w, const int32_t* x) {
    const int8x16_t tokens = vreinterpretq_s8_s32(vld1q_s32(x));
    return each<I32x16>([&](auto s, auto rows) { return vmmlaq_s32(s, rows, tokens); }, sum, w);
}
// Two tokens' values, for all rows.
inline F32x16 broadcast_two(const float* x) {
    const float32x2_t two = vld1_f32(x);
    return four<F32x16>([&](int) { return vcombine_f32(two, two); });
}
// The biases of two tokens, and what sums start from (scalar.h).
struct TwoBiases { const int32_t* values; };
inline I32x16 broadcast_two(int32x2_t two) {
    return four<I32x16>([&](int) { return vcombine_s32(two, two); });
}
template <int divisor>
inline I32x16 broadcast_part(TwoBiases bias) {
    const int32x2_t two = vld1_s32(bias.values);
    if constexpr (divisor == 1) return broadcast_two(two);
    else return broadcast_two(vshr_n_s32(two, __builtin_ctz(divisor)));
}
inline I32x16 signed_dot_start(TwoBiases) { return broadcast_i32(0); }
inline I32x16 lowered_dot_start(TwoBiases bias) { return broadcast_two(vneg_s32(vld1_s32(bias.values))); }
// The eight rows of the one token and of the other.
inline void store_two(float* first, float* second, F32x16 a) {
    vst1q_f32(first, vuzp1q_f32(a.v0, a.v1));
    vst1q_f32(first + 4, vuzp1q_f32(a.v2, a.v3));
    vst1q_f32(second, vuzp2q_f32(a.v0, a.v1));
    vst1q_f32(second + 4, vuzp2q_f32(a.v2, a.v3));
}

}}  // namespace qwill::QWILL_ISA_NS
