// Vector types over AVX-512 F/BW/DQ/VL + VNNI, and BF16 where it is compiled in. See scalar.h for what each operation means.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace qwill { namespace QWILL_ISA_NS {

constexpr int kRegisters = 32;

struct F32x16 { __m512 v; };
struct I32x16 { __m512i v; };
struct U8x64 { __m512i v; };

inline F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline F32x16 load_first(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
inline void store_first(float* p, F32x16 a, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
inline F32x16 broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline F32x16 zero() { return {_mm512_setzero_ps()}; }
inline F32x16 operator+(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32x16 operator-(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32x16 operator*(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32x16 operator/(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32x16 abs(F32x16 a) { return {_mm512_abs_ps(a.v)}; }
inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
inline F32x16 load_f16(const uint16_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline F32x16 load_bf16(const uint16_t* p) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
}
inline void store_f16(uint16_t* p, F32x16 a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
struct BF16Pairs { __m512i v; };
inline BF16Pairs load_pairs(const void* p) { return {_mm512_loadu_si512(p)}; }
#if defined(__AVX512BF16__)
inline F32x16 dot2(F32x16 sum, BF16Pairs w, BF16Pairs x) { return {_mm512_dpbf16_ps(sum.v, (__m512bh)w.v, (__m512bh)x.v)}; }
inline void store_bf16(uint16_t* p, F32x16 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(a.v)); }
#else
inline __m512 even_halves(BF16Pairs a) { return _mm512_castsi512_ps(_mm512_slli_epi32(a.v, 16)); }
inline __m512 odd_halves(BF16Pairs a) { return _mm512_castsi512_ps(_mm512_and_si512(a.v, _mm512_set1_epi32(-65536))); }
inline F32x16 dot2(F32x16 sum, BF16Pairs w, BF16Pairs x) {
    return {_mm512_fmadd_ps(even_halves(w), even_halves(x), _mm512_fmadd_ps(odd_halves(w), odd_halves(x), sum.v))};
}
inline void store_bf16(uint16_t* p, F32x16 a) {
    const __m512i bits = _mm512_castps_si512(a.v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    const __m512i sign = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x8000));
    const __mmask16 tiny = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));
    const __m512i value = _mm512_mask_mov_epi32(_mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q), quiet), tiny, sign);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(value));
}
#endif
inline BF16Pairs broadcast_pair(const uint32_t* x) { return {_mm512_set1_epi32(static_cast<int32_t>(*x))}; }
inline I32x16 round_i32(F32x16 a) { return {_mm512_cvtps_epi32(a.v)}; }
inline F32x16 to_f32(I32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline F32x16 power_of_two(I32x16 n) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n.v, _mm512_set1_epi32(127)), 23))};
}

inline float reduce_add(F32x16 a) {
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
// Two vectors share a register after each step; they are taken in the order that makes the sums come out in order.
inline F32x16 reduce_add16(const F32x16* a) {
    __m512 eights[8], fours[4], twos[2];
    for (int i = 0; i < 8; ++i) {
        // Position p of the tree holds vector 4 * (p % 4) + p / 4.
        const __m512 x = a[4 * (2 * i % 4) + i / 2].v, y = a[4 * ((2 * i + 1) % 4) + i / 2].v;
        eights[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
    }
    for (int i = 0; i < 4; ++i) {
        const __m512 x = eights[2 * i], y = eights[2 * i + 1];
        fours[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
    }
    for (int i = 0; i < 2; ++i) {
        const __m512 x = fours[2 * i], y = fours[2 * i + 1];
        twos[i] = _mm512_add_ps(_mm512_shuffle_ps(x, y, _MM_SHUFFLE(1, 0, 1, 0)), _mm512_shuffle_ps(x, y, _MM_SHUFFLE(3, 2, 3, 2)));
    }
    return {_mm512_add_ps(_mm512_shuffle_ps(twos[0], twos[1], _MM_SHUFFLE(2, 0, 2, 0)),
                          _mm512_shuffle_ps(twos[0], twos[1], _MM_SHUFFLE(3, 1, 3, 1)))};
}
inline float reduce_max(F32x16 a) { return _mm512_reduce_max_ps(a.v); }

// Bytes. S8x64 holds signed weights as value + 128, which VNNI multiplies as unsigned; the surplus 128 * sum(x) is taken off
// by starting the sum at `bias`.
struct S8x64 { __m512i v; };
inline U8x64 load_bytes(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store_bytes(uint8_t* p, U8x64 a) { _mm512_storeu_si512(p, a.v); }
inline U8x64 low_nibbles(U8x64 a) { return {_mm512_and_si512(a.v, _mm512_set1_epi8(0x0f))}; }
inline U8x64 high_nibbles(U8x64 a) { return {_mm512_and_si512(_mm512_srli_epi16(a.v, 4), _mm512_set1_epi8(0x0f))}; }
inline U8x64 operator|(U8x64 a, U8x64 b) { return {_mm512_or_si512(a.v, b.v)}; }
template <int from, int to, int mask>
inline U8x64 move_bits(U8x64 a) {
    constexpr int left = to > from ? to - from : 0, right = from > to ? from - to : 0;
    const __m512i moved = right > 0 ? _mm512_srli_epi16(a.v, right) : _mm512_slli_epi16(a.v, left);
    return {_mm512_and_si512(moved, _mm512_set1_epi8(mask))};
}
inline U8x64 lookup(const int8_t* table, U8x64 indices) {
    const __m512i entries = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm512_shuffle_epi8(entries, indices.v)};
}
inline S8x64 signed_bytes(U8x64 a) { return {_mm512_xor_si512(a.v, _mm512_set1_epi8(-128))}; }
// *x / divisor, a power of two that divides it.
template <int divisor>
inline I32x16 broadcast_part(const int32_t* x) { return {_mm512_srai_epi32(_mm512_set1_epi32(*x), __builtin_ctz(divisor))}; }
inline I32x16 broadcast_i32(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline I32x16 signed_dot_start(const int32_t* bias) { return {_mm512_set1_epi32(*bias)}; }
inline I32x16 lowered_dot_start(const int32_t*) { return {_mm512_setzero_si512()}; }
inline I32x16 dot4(I32x16 sum, U8x64 w, const int32_t* x) { return {_mm512_dpbusd_epi32(sum.v, w.v, _mm512_set1_epi32(*x))}; }
inline I32x16 dot4(I32x16 sum, S8x64 w, const int32_t* x) { return {_mm512_dpbusd_epi32(sum.v, w.v, _mm512_set1_epi32(*x))}; }
inline __m128i load_16_bytes(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline F32x16 load_u8(const uint8_t* p) { return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_16_bytes(p)))}; }
inline F32x16 load_s8(const uint8_t* p) { return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_16_bytes(p)))}; }
inline F32x16 load_exponents(const uint8_t* p) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu8_epi32(load_16_bytes(p)), 23))}; }
// The bits of an E4M3 number, moved into a half, are the same number divided by 2^8, subnormals too.
inline F32x16 load_e4m3(const uint8_t* p) {
    const __m256i wide = _mm256_cvtepu8_epi16(load_16_bytes(p));
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
    const __m256i magnitude = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x7f)), 7);
    return {_mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(sign, magnitude)), _mm512_set1_ps(256.0f))};
}
inline void store_i8_words(int32_t* p, const I32x16 (&rows)[4]) {
    const __m512i first = _mm512_packs_epi32(rows[0].v, rows[1].v), second = _mm512_packs_epi32(rows[2].v, rows[3].v);
    _mm512_storeu_si512(p, _mm512_packs_epi16(first, second));
}
inline void store_i8(int8_t* p, I32x16 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v)); }
inline int32_t reduce_add(I32x16 a) { return _mm512_reduce_add_epi32(a.v); }

}}  // namespace qwill::QWILL_ISA_NS
