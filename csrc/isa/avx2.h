// Vector types over AVX2 + FMA + F16C: two registers make one vector of sixteen. See scalar.h for the meaning.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace qwill { namespace avx2 {

constexpr int kRegisters = 8;

struct F32x16 { __m256 lo, hi; };
struct I32x16 { __m256i lo, hi; };
struct U8x64 { __m256i lo, hi; };

inline F32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, F32x16 a) { _mm256_storeu_ps(p, a.lo); _mm256_storeu_ps(p + 8, a.hi); }
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
inline F32x16 broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F32x16 operator+(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline F32x16 operator-(F32x16 a, F32x16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline F32x16 operator*(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline F32x16 operator/(F32x16 a, F32x16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline F32x16 min(F32x16 a, F32x16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline F32x16 max(F32x16 a, F32x16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline F32x16 abs(F32x16 a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
    return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
            _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
inline __m128i load_8x16(const uint16_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline F32x16 load_f16(const uint16_t* p) { return {_mm256_cvtph_ps(load_8x16(p)), _mm256_cvtph_ps(load_8x16(p + 8))}; }
inline F32x16 load_bf16(const uint16_t* p) {
    const auto widened = [](const uint16_t* q) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_8x16(q)), 16));
    };
    return {widened(p), widened(p + 8)};
}
inline void store_f16(uint16_t* p, F32x16 a) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, nearest));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.hi, nearest));
}
struct BF16Pairs { __m256i lo, hi; };
inline BF16Pairs load_pairs(const void* p) {
    const auto* halves = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}
inline BF16Pairs broadcast_pair(const uint32_t* x) {
    const __m256i pair = _mm256_set1_epi32(static_cast<int32_t>(*x));
    return {pair, pair};
}
inline __m256 dot2(__m256 sum, __m256i w, __m256i x) {
    const __m256i odd = _mm256_set1_epi32(-65536);
    sum = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(w, odd)), _mm256_castsi256_ps(_mm256_and_si256(x, odd)), sum);
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(w, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)), sum);
}
inline F32x16 dot2(F32x16 sum, BF16Pairs w, BF16Pairs x) { return {dot2(sum.lo, w.lo, x.lo), dot2(sum.hi, w.hi, x.hi)}; }
inline __m256i bf16_bits(__m256 a) {
    const __m256i bits = _mm256_castps_si256(a), high = _mm256_srli_epi32(bits, 16), one = _mm256_set1_epi32(1);
    const __m256i up = _mm256_add_epi32(_mm256_and_si256(high, one), _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, up), 16), quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f800000));
    const __m256i tiny = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256()), sign = _mm256_and_si256(high, _mm256_set1_epi32(0x8000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(_mm256_blendv_epi8(rounded, quiet, nan), sign, tiny);
}
inline void store_bf16(uint16_t* p, F32x16 a) {
    const __m256i packed = _mm256_packus_epi32(bf16_bits(a.lo), bf16_bits(a.hi));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
inline I32x16 round_i32(F32x16 a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
inline F32x16 to_f32(I32x16 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
inline F32x16 power_of_two(I32x16 n) {
    const __m256i bias = _mm256_set1_epi32(127);
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.lo, bias), 23)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.hi, bias), 23))};
}
inline float reduce_add(F32x16 a) {
    const __m256 h = _mm256_add_ps(a.lo, a.hi);
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
// Sums of eight vectors: halves are added, then two vectors share a register at each step. The order in which they are
// taken makes the sums come out in order.
inline __m256 reduce_add8(const F32x16* a) {
    __m256 pairs[4], quads[2];
    for (int i = 0; i < 4; ++i) {
        const __m256 x = _mm256_add_ps(a[i].lo, a[i].hi), y = _mm256_add_ps(a[i + 4].lo, a[i + 4].hi);
        pairs[i] = _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
    }
    for (int i = 0; i < 2; ++i) {
        const __m256 x = pairs[2 * i], y = pairs[2 * i + 1];
        quads[i] = _mm256_add_ps(_mm256_shuffle_ps(x, y, _MM_SHUFFLE(1, 0, 1, 0)), _mm256_shuffle_ps(x, y, _MM_SHUFFLE(3, 2, 3, 2)));
    }
    return _mm256_add_ps(_mm256_shuffle_ps(quads[0], quads[1], _MM_SHUFFLE(2, 0, 2, 0)),
                         _mm256_shuffle_ps(quads[0], quads[1], _MM_SHUFFLE(3, 1, 3, 1)));
}
inline F32x16 reduce_add16(const F32x16* a) { return {reduce_add8(a), reduce_add8(a + 8)}; }
inline float reduce_max(F32x16 a) {
    const __m256 h = _mm256_max_ps(a.lo, a.hi);
    const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_shuffle_ps(d, d, 1)));
}

// Bytes. A product of signed bytes is taken as |w| * (x with the sign of w): pairs add up to at most 2 * 128 * 127, so that
// the 16-bit sums of maddubs never saturate; unsigned weights have to be below 128 for the same reason.
struct S8x64 { __m256i lo, hi, magnitude_lo, magnitude_hi; };
inline U8x64 load_bytes(const uint8_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
inline void store_bytes(uint8_t* p, U8x64 a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), a.hi);
}
inline U8x64 low_nibbles(U8x64 a) {
    const __m256i mask = _mm256_set1_epi8(0x0f);
    return {_mm256_and_si256(a.lo, mask), _mm256_and_si256(a.hi, mask)};
}
inline U8x64 high_nibbles(U8x64 a) { return low_nibbles({_mm256_srli_epi16(a.lo, 4), _mm256_srli_epi16(a.hi, 4)}); }
inline U8x64 operator|(U8x64 a, U8x64 b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
template <int from, int to, int mask>
inline __m256i move_bits(__m256i a) {
    constexpr int left = to > from ? to - from : 0, right = from > to ? from - to : 0;
    const __m256i moved = right > 0 ? _mm256_srli_epi16(a, right) : _mm256_slli_epi16(a, left);
    return _mm256_and_si256(moved, _mm256_set1_epi8(mask));
}
template <int from, int to, int mask>
inline U8x64 move_bits(U8x64 a) { return {move_bits<from, to, mask>(a.lo), move_bits<from, to, mask>(a.hi)}; }
inline U8x64 lookup(const int8_t* table, U8x64 indices) {
    const __m256i entries = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm256_shuffle_epi8(entries, indices.lo), _mm256_shuffle_epi8(entries, indices.hi)};
}
inline S8x64 signed_bytes(U8x64 a) { return {a.lo, a.hi, _mm256_abs_epi8(a.lo), _mm256_abs_epi8(a.hi)}; }
inline I32x16 broadcast_i32(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
template <int divisor>
inline I32x16 broadcast_part(const int32_t* x) { return broadcast_i32(*x / divisor); }
inline I32x16 signed_dot_start(const int32_t*) { return broadcast_i32(0); }
inline I32x16 lowered_dot_start(const int32_t* bias) { return broadcast_i32(-*bias); }
inline __m256i dot4(__m256i sum, __m256i w, __m256i x) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
// Sums of two products in sixteen bits, 32 of them: as many may be added as fit, then widened.
struct I16x32 { __m256i lo, hi; };
inline I16x32 dot2x2(U8x64 w, const int32_t* x) {
    const __m256i four = _mm256_set1_epi32(*x);
    return {_mm256_maddubs_epi16(w.lo, four), _mm256_maddubs_epi16(w.hi, four)};
}
inline I16x32 operator+(I16x32 a, I16x32 b) { return {_mm256_add_epi16(a.lo, b.lo), _mm256_add_epi16(a.hi, b.hi)}; }
inline I32x16 add_widened(I32x16 sum, I16x32 a) {
    const __m256i ones = _mm256_set1_epi16(1);
    return {_mm256_add_epi32(sum.lo, _mm256_madd_epi16(a.lo, ones)), _mm256_add_epi32(sum.hi, _mm256_madd_epi16(a.hi, ones))};
}
inline I32x16 dot4(I32x16 sum, U8x64 w, const int32_t* x) {
    const __m256i four = _mm256_set1_epi32(*x);
    return {dot4(sum.lo, w.lo, four), dot4(sum.hi, w.hi, four)};
}
inline I32x16 dot4(I32x16 sum, S8x64 w, const int32_t* x) {
    const __m256i four = _mm256_set1_epi32(*x);
    return {dot4(sum.lo, w.magnitude_lo, _mm256_sign_epi8(four, w.lo)), dot4(sum.hi, w.magnitude_hi, _mm256_sign_epi8(four, w.hi))};
}
inline __m128i load_8_bytes(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
inline F32x16 load_u8(const uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load_8_bytes(p))), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load_8_bytes(p + 8)))};
}
inline F32x16 load_s8(const uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_8_bytes(p))), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_8_bytes(p + 8)))};
}
inline F32x16 load_exponents(const uint8_t* p) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(load_8_bytes(p)), 23)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(load_8_bytes(p + 8)), 23))};
}
// The bits of an E4M3 number, moved into a half, are the same number divided by 2^8, subnormals too.
inline F32x16 load_e4m3(const uint8_t* p) {
    const __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
    const __m256i half = _mm256_or_si256(sign, _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x7f)), 7));
    const __m256 factor = _mm256_set1_ps(256.0f);
    return {_mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(half)), factor),
            _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)), factor)};
}
inline __m256i pack_words(__m256i a, __m256i b, __m256i c, __m256i d) {
    return _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
}
inline void store_i8_words(int32_t* p, const I32x16 (&rows)[4]) {
    auto* out = reinterpret_cast<__m256i*>(p);
    _mm256_storeu_si256(out, pack_words(rows[0].lo, rows[1].lo, rows[2].lo, rows[3].lo));
    _mm256_storeu_si256(out + 1, pack_words(rows[0].hi, rows[1].hi, rows[2].hi, rows[3].hi));
}
inline void store_i8(int8_t* p, I32x16 a) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a.lo, a.hi), 0xd8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
inline int32_t reduce_add(I32x16 a) {
    const __m256i h = _mm256_add_epi32(a.lo, a.hi);
    const __m128i q = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    const __m128i d = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(d, _mm_shuffle_epi32(d, 0xb1)));
}

}}  // namespace qwill::avx2
