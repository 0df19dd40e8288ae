// Layouts of packed integer weights: what a panel of sixteen rows looks like and how it becomes operands and scales.
//
// A panel is read once from front to back: spans of columns, each first its scales and then its quants; the last span may
// be filled in part. The quants of 32 columns are eight groups of four columns; a group is 64 bytes, four for each row,
// which one instruction multiplies with four activations. Codes of fewer than 8 bits share bytes: groups 2v and 2v + 1 are
// the low and high nibbles of vector v, further bits follow in vectors of their own.
#pragma once

#include <cstdint>

#include "generic/linear/tile_sizes.h"
#include "generic/unroll.h"

namespace qwill { namespace QWILL_ISA_NS {

// Codes<bits>::groups<v>(quants, each) calls each(group, codes) for groups 2v and 2v + 1.
template <int bits>
struct Codes;

template <>
struct Codes<4> {
    static constexpr int64_t kBytes = 256;
    template <int v, typename Each>
    static QWILL_INLINE inline void groups(const uint8_t* quants, const Each& each) {
        const U8x64 w = load_bytes(quants + 64 * v);
        each(std::integral_constant<int, 2 * v>{}, low_nibbles(w));
        each(std::integral_constant<int, 2 * v + 1>{}, high_nibbles(w));
    }
};

// Four groups to a vector: bits 2g and 2g + 1 of the first vector's bytes are group g, of the second's group g + 4.
template <>
struct Codes<2> {
    static constexpr int64_t kBytes = 128;
    template <int v, typename Each>
    static QWILL_INLINE inline void groups(const uint8_t* quants, const Each& each) {
        const U8x64 w = load_bytes(quants + 64 * (v / 2));
        each(std::integral_constant<int, 2 * v>{}, move_bits<v % 2 * 4, 0, 0x03>(w));
        each(std::integral_constant<int, 2 * v + 1>{}, move_bits<v % 2 * 4 + 2, 0, 0x03>(w));
    }
};

// The third bits: bit g of a byte belongs to group g.
template <>
struct Codes<3> {
    static constexpr int64_t kBytes = 192;
    template <int v, typename Each>
    static QWILL_INLINE inline void groups(const uint8_t* quants, const Each& each) {
        const U8x64 high = load_bytes(quants + 128);
        Codes<2>::groups<v>(quants, [&](auto g, const U8x64& low) QWILL_INLINE { each(g, low | move_bits<g, 2, 0x04>(high)); });
    }
};

// The fifth bits: bit g of a byte belongs to group g.
template <>
struct Codes<5> {
    static constexpr int64_t kBytes = 320;
    template <int v, typename Each>
    static QWILL_INLINE inline void groups(const uint8_t* quants, const Each& each) {
        const U8x64 high = load_bytes(quants + 256);
        Codes<4>::groups<v>(quants, [&](auto g, const U8x64& low) QWILL_INLINE { each(g, low | move_bits<g, 4, 0x10>(high)); });
    }
};

// The upper two bits: bits 2g and 2g + 1 of the first vector's bytes belong to group g, of the second's to group g + 4.
template <>
struct Codes<6> {
    static constexpr int64_t kBytes = 384;
    template <int v, typename Each>
    static QWILL_INLINE inline void groups(const uint8_t* quants, const Each& each) {
        const U8x64 high = load_bytes(quants + 256 + 64 * (v / 2));
        Codes<4>::groups<v>(quants, [&](auto g, const U8x64& low) QWILL_INLINE {
            each(g, low | move_bits<g % 4 * 2, 4, 0x30>(high));
        });
    }
};

template <>
struct Codes<8> {
    static constexpr int64_t kBytes = 512;
    template <int v, typename Each>
    static QWILL_INLINE inline void groups(const uint8_t* quants, const Each& each) {
        each(std::integral_constant<int, 2 * v>{}, load_bytes(quants + 128 * v));
        each(std::integral_constant<int, 2 * v + 1>{}, load_bytes(quants + 128 * v + 64));
    }
};

// What a code stands for: the operand that is multiplied, what a sum starts from, given -128 times the sum of the
// activations, and what is kept of it where codes are unfolded (unfolded.h), with the meaning of that.
struct Plain {
    using Unfolded = Plain;
    static constexpr bool kLooksUp = false, kUnsigned = true;
    static QWILL_INLINE inline U8x64 operand(const U8x64& code) { return code; }
    static QWILL_INLINE inline U8x64 unfolded(const U8x64& code) { return code; }
    template <typename Bias>
    static QWILL_INLINE inline I32x16 start(Bias) { return broadcast_i32(0); }
};
struct TwosComplement {
    using Unfolded = TwosComplement;
    static constexpr bool kLooksUp = false, kUnsigned = false;
    static QWILL_INLINE inline S8x64 operand(const U8x64& code) { return signed_bytes(code); }
    static QWILL_INLINE inline U8x64 unfolded(const U8x64& code) { return code; }
    template <typename Bias>
    static QWILL_INLINE inline I32x16 start(Bias bias) { return signed_dot_start(bias); }
};
// The unsigned code, a byte, stored less 128: unsigned bytes are multiplied below 128 only.
struct Lowered {
    using Unfolded = Lowered;
    static constexpr bool kLooksUp = false, kUnsigned = false;
    static QWILL_INLINE inline S8x64 operand(const U8x64& code) { return signed_bytes(code); }
    static QWILL_INLINE inline U8x64 unfolded(const U8x64& code) { return code; }
    template <typename Bias>
    static QWILL_INLINE inline I32x16 start(Bias bias) { return lowered_dot_start(bias); }
};
// The code less `offset`, a power of two: the code is multiplied, and offset times the sum taken off.
template <int offset>
struct Centred {
    using Unfolded = Centred;
    static constexpr bool kLooksUp = false, kUnsigned = true;
    static QWILL_INLINE inline U8x64 operand(const U8x64& code) { return code; }
    static QWILL_INLINE inline U8x64 unfolded(const U8x64& code) { return code; }
    template <typename Bias>
    static QWILL_INLINE inline I32x16 start(Bias bias) { return broadcast_part<128 / offset>(bias); }
};
template <const int8_t* table>
struct Table {
    using Unfolded = TwosComplement;
    static constexpr bool kLooksUp = true, kUnsigned = false;
    static QWILL_INLINE inline S8x64 operand(const U8x64& code) { return signed_bytes(lookup(table, code)); }
    static QWILL_INLINE inline U8x64 unfolded(const U8x64& code) { return lookup(table, code); }
    template <typename Bias>
    static QWILL_INLINE inline I32x16 start(Bias bias) { return signed_dot_start(bias); }
};

// The scales of sixteen rows for 32 columns, or 16, and what the sum of the activations is multiplied by. Products of the
// parts of a scale are exact in float. Layouts give them for block `b` (of 32 columns) of a span, and half `s` of the block
// where kSums is 2; kColumns is the span, kBytes its scales, whole cache lines. kScaled: columns of the activations that share
// a scale, 32 where the weights' blocks are as long, 128 in superblocks of 256, which saves three multiplications in four and
// costs less accuracy than one scale for all 256.
struct Scales {
    F32x16 scale, minimum;
};

inline const uint16_t* halves(const uint8_t* p) { return reinterpret_cast<const uint16_t*>(p); }

// A half for every 32 columns.
struct HalfScales {
    static constexpr int kSums = 1, kColumns = 64, kScaled = 32, kBytes = 64;
    static constexpr bool kMinimum = false;
    static QWILL_INLINE inline Scales scales(const uint8_t* p, int64_t b, int) { return {load_f16(halves(p + 32 * b)), zero()}; }
};

// Two halves for every 32 columns, scale and what is added.
struct HalfScalesMinimums {
    static constexpr int kSums = 1, kColumns = 32, kScaled = 32, kBytes = 64;
    static constexpr bool kMinimum = true;
    static QWILL_INLINE inline Scales scales(const uint8_t* p, int64_t, int) {
        return {load_f16(halves(p)), load_f16(halves(p + 32))};
    }
};

// Two BF16 numbers for every 32 or 64 columns, scale and what is added.
template <int columns>
struct BF16ScalesMinimums {
    static constexpr int kSums = 1, kColumns = columns, kScaled = 32, kBytes = 64;
    static constexpr bool kMinimum = true;
    static QWILL_INLINE inline Scales scales(const uint8_t* p, int64_t, int) {
        return {load_bf16(halves(p)), load_bf16(halves(p + 32))};
    }
};

// For 256 columns: halves of scale and minimum, then for every 32 or 16 a byte of scale and one of minimum (subtracted).
template <int columns>
struct ByteScalesMinimums {
    static constexpr int kSums = 32 / columns, kColumns = 256, kScaled = 128, kBytes = 64 + 256 / columns * 32;
    static constexpr bool kMinimum = true;
    static QWILL_INLINE inline Scales scales(const uint8_t* p, int64_t b, int s) {
        const uint8_t* bytes = p + 64 + 32 * (kSums * b + s);
        return {load_f16(halves(p)) * load_u8(bytes), zero() - load_f16(halves(p + 32)) * load_u8(bytes + 16)};
    }
};

// For 256 columns: a half, then a signed byte for every 32 or 16.
template <int columns>
struct SignedByteScales {
    static constexpr int kSums = 32 / columns, kColumns = 256, kScaled = 128, kBytes = (32 + 256 / columns * 16 + 63) / 64 * 64;
    static constexpr bool kMinimum = false;
    static QWILL_INLINE inline Scales scales(const uint8_t* p, int64_t b, int s) {
        return {load_f16(halves(p)) * load_s8(p + 32 + 16 * (kSums * b + s)), zero()};
    }
};

// A power of two for every 32 columns: the exponent bits of a float.
struct PowerScales {
    static constexpr int kSums = 1, kColumns = 128, kScaled = 32, kBytes = 64;
    static constexpr bool kMinimum = false;
    static QWILL_INLINE inline Scales scales(const uint8_t* p, int64_t b, int) { return {load_exponents(p + 16 * b), zero()}; }
};

// `digits`: bits of a code that are not zero, where it takes more room than it needs. `turned`: two groups after the other
// hold eight columns of rows 0 to 7 and of 8 to 15, as matrix_tile.h multiplies them.
template <int bits, typename CodeMeaning, typename ScaleLayout, int digits = bits, bool turned = false>
struct Format : ScaleLayout {
    using Meaning = CodeMeaning;
    using ScaleFormat = ScaleLayout;
    static constexpr int kDigits = digits;
    static constexpr bool kTurned = turned;
    template <typename Bias>
    static QWILL_INLINE inline I32x16 start(Bias bias) { return Meaning::start(bias); }
    static constexpr int kBits = bits;
    // Whether taking codes apart, or turning them, costs enough to do it once for many tokens.
    static constexpr bool kUnfolds = bits != 8 || kMatrixProducts;
    static constexpr int64_t kQuantBytes = Codes<bits>::kBytes;
    static constexpr int64_t kSpanBytes = ScaleLayout::kBytes + ScaleLayout::kColumns / 32 * kQuantBytes;
    static int64_t panel_bytes(int64_t columns) {
        return (columns + ScaleLayout::kColumns - 1) / ScaleLayout::kColumns * kSpanBytes;
    }
    // each(group, code) for 2 * pairs groups from 2 * first on of the 32 columns at `quants`.
    template <int first, int pairs, typename Each>
    static QWILL_INLINE inline void each_group(const uint8_t* quants, const Each& each) {
        unroll<pairs>([&](auto v) QWILL_INLINE { Codes<bits>::template groups<first + v>(quants, each); });
    }
    static QWILL_INLINE inline auto operand(const U8x64& code) { return Meaning::operand(code); }
};

}}  // namespace qwill::QWILL_ISA_NS
