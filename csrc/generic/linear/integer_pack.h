// From the blocks of a file to the panels of integer_formats.h.
//
// A packer names a block type and its panel format, and gives a block's codes (one byte each) and scales, which go to the
// block's place among its span's scales, row r at index r of each group of sixteen.
#pragma once

#include <cstring>

#include "formats/decode.h"
#include "generic/linear/integer_formats.h"
#include "linear.h"

namespace qwill { namespace QWILL_ISA_NS {

inline bool finite_half(uint16_t half) { return (half & 0x7c00u) != 0x7c00u; }
// Below 2^119, so that no byte times it is infinite.
inline bool finite_product(uint16_t bf16) { return (bf16 & 0x7fffu) < 0x7b00u; }
inline void put_half(uint8_t* place, int row, uint16_t half) { std::memcpy(place + 2 * row, &half, sizeof half); }

// The words (four bytes) of a row's 32 codes, in the order in which the panel's vectors hold them.
template <int bits>
QWILL_INLINE inline void code_words(const uint8_t* codes, uint32_t* words) {
    uint32_t fours[8];
    std::memcpy(fours, codes, sizeof fours);
    if constexpr (bits == 8) {
        for (int g = 0; g < 8; ++g) words[g] = fours[g];
        return;
    }
    const auto collect = [&](int first, int groups, int from, uint32_t mask, int step) {
        uint32_t word = 0;
        for (int g = 0; g < groups; ++g) word |= (fours[first + g] >> from & mask) << step * g;
        return word;
    };
    if constexpr (bits < 4) {
        for (int half = 0; half < 2; ++half) words[half] = collect(4 * half, 4, 0, 0x03030303u, 2);
        if constexpr (bits == 3) words[2] = collect(0, 8, 2, 0x01010101u, 1);
    } else {
        for (int v = 0; v < 4; ++v) words[v] = collect(2 * v, 2, 0, 0x0f0f0f0fu, 4);
        if constexpr (bits == 5) words[4] = collect(0, 8, 4, 0x01010101u, 1);
        if constexpr (bits == 6) for (int half = 0; half < 2; ++half) words[4 + half] = collect(4 * half, 4, 4, 0x03030303u, 2);
    }
}

// False when a scale is not finite. `rows` are null beyond the matrix; their scales and codes are zero.
template <typename Packer>
bool pack_integer_panel(const uint8_t* const* rows, int64_t columns, uint8_t* panel) {
    using Format = typename Packer::Format;
    using Block = typename Packer::Block;
    constexpr int kElements = Block::elements, kBlocks = Format::kColumns / kElements;  // in a span
    constexpr int kWords = static_cast<int>(Format::kQuantBytes / 64);
    const int64_t count = columns / kElements, spans = Format::panel_bytes(columns) / Format::kSpanBytes;
    bool finite = true;
    for (int64_t n = 0; n < spans; ++n) {
        uint8_t* span = panel + n * Format::kSpanBytes;
        std::memset(span, 0, Format::kBytes);
        // Blocks that the last span lacks, and rows that the matrix lacks, stay zero.
        if ((n + 1) * kBlocks > count || rows[kPanelRows - 1] == nullptr) {
            std::memset(span + Format::kBytes, 0, static_cast<size_t>(Format::kSpanBytes - Format::kBytes));
        }
        for (int row = 0; row < kPanelRows && rows[row] != nullptr; ++row) {
            for (int64_t b = 0; b < kBlocks && n * kBlocks + b < count; ++b) {
                const Block& block = reinterpret_cast<const Block*>(rows[row])[n * kBlocks + b];
                uint8_t codes[kElements];
                Packer::codes(block, codes);
                uint8_t* quants = span + Format::kBytes + b * (kElements / 32 * Format::kQuantBytes) + 4 * row;
                for (int e = 0; e < kElements; e += 32, quants += Format::kQuantBytes) {
                    uint32_t words[kWords];
                    code_words<Format::kBits>(codes + e, words);
                    for (int w = 0; w < kWords; ++w) std::memcpy(quants + 64 * w, words + w, 4);
                }
                finite &= Packer::scales(block, row, span + b * (Format::kBytes / kBlocks));
            }
        }
    }
    return finite;
}

// Byte i holds elements i (the low nibble) and i + count.
template <int count>
QWILL_INLINE inline void nibble_rows(const uint8_t* __restrict quants, uint8_t* __restrict out) {
    for (int i = 0; i < count; ++i) {
        out[i] = quants[i] & 0x0f;
        out[i + count] = quants[i] >> 4;
    }
}

// Adds to each code two bits, those `from` and above of its byte, as its bits 4 and 5.
template <int count>
QWILL_INLINE inline void add_high_pairs(const uint8_t* __restrict high_bits, int from, uint8_t* __restrict out) {
    for (int i = 0; i < count; ++i) out[i] |= static_cast<uint8_t>((high_bits[i] >> from & 3) << 4);
}

// Adds to each code the bit `from` of its byte as its bit `to`.
template <int count, int to>
QWILL_INLINE inline void add_high_bits(const uint8_t* __restrict high_bits, int from, uint8_t* __restrict out) {
    for (int i = 0; i < count; ++i) out[i] |= static_cast<uint8_t>((high_bits[i] >> from & 1) << to);
}

// Two halves of four rows of 32 elements: byte i of a half holds element i of each row.
QWILL_INLINE inline void two_bit_rows(const uint8_t* __restrict quants, uint8_t* __restrict out) {
    for (int half = 0; half < 2; ++half) {
        for (int line = 0; line < 4; ++line) {
            for (int i = 0; i < 32; ++i) out[128 * half + 32 * line + i] = quants[32 * half + i] >> (2 * line) & 3;
        }
    }
}

// Blocks whose only scale is a half.
template <typename BlockType, typename PanelFormat>
struct HalfScalePacker {
    using Block = BlockType;
    using Format = PanelFormat;
    static bool scales(const Block& block, int row, uint8_t* place) {
        put_half(place, row, block.scale);
        return finite_half(block.scale);
    }
};

struct PackQ8_0 : HalfScalePacker<formats::BlockQ8_0, Format<8, TwosComplement, HalfScales>> {
    static void codes(const Block& block, uint8_t* out) { std::memcpy(out, block.quants, 32); }
};

template <typename Block>
inline void nibble_codes(const Block& block, uint8_t* out) { nibble_rows<16>(block.quants, out); }
template <typename Block>
inline void five_bit_codes(const Block& block, uint8_t* out) {
    for (int i = 0; i < 16; ++i) {
        out[i] = static_cast<uint8_t>(formats::q5_first(block, i));
        out[i + 16] = static_cast<uint8_t>(formats::q5_second(block, i));
    }
}

struct PackQ4_0 : HalfScalePacker<formats::BlockQ4_0, Format<4, Centred<8>, HalfScales>> {
    static void codes(const Block& block, uint8_t* out) { nibble_codes(block, out); }
};
struct PackQ5_0 : HalfScalePacker<formats::BlockQ5_0, Format<5, Centred<16>, HalfScales>> {
    static void codes(const Block& block, uint8_t* out) { five_bit_codes(block, out); }
};
struct PackIQ4_NL : HalfScalePacker<formats::BlockIQ4_NL, Format<4, Table<formats::iq4_values>, HalfScales>> {
    static void codes(const Block& block, uint8_t* out) { nibble_codes(block, out); }
};

template <typename BlockType, int bits>
struct HalfScaleMinimumPacker {
    using Block = BlockType;
    using Format = qwill::QWILL_ISA_NS::Format<bits, Plain, HalfScalesMinimums>;
    static bool scales(const Block& block, int row, uint8_t* place) {
        put_half(place, row, block.scale);
        put_half(place + 32, row, block.minimum);
        return finite_half(block.scale) && finite_half(block.minimum);
    }
};
struct PackQ4_1 : HalfScaleMinimumPacker<formats::BlockQ4_1, 4> {
    static void codes(const Block& block, uint8_t* out) { nibble_codes(block, out); }
};
struct PackQ5_1 : HalfScaleMinimumPacker<formats::BlockQ5_1, 5> {
    static void codes(const Block& block, uint8_t* out) { five_bit_codes(block, out); }
};

// Bytes are stored less 128.
template <int bits, int group>
inline void affine_panel_codes(const uint8_t* stream, uint8_t* out) {
    formats::affine_codes<bits, group>(stream, out);
    if constexpr (bits == 8) {
        for (int i = 0; i < group; ++i) out[i] ^= 0x80;
    }
}
template <int bits, int group>
struct PackAffine {
    using Block = formats::BlockAffine<bits, group>;
    using Meaning = std::conditional_t<bits == 8, Lowered, Plain>;
    using Format = qwill::QWILL_ISA_NS::Format<bits, Meaning, BF16ScalesMinimums<group>>;
    static void codes(const Block& block, uint8_t* out) { affine_panel_codes<bits, group>(block.codes, out); }
    static bool scales(const Block& block, int row, uint8_t* place) {
        put_half(place, row, block.scale);
        put_half(place + 32, row, block.minimum);
        return finite_product(block.scale) && finite_product(block.minimum);
    }
};
struct PackAffineHalf {
    using Block = formats::BlockAffineHalf;
    using Format = qwill::QWILL_ISA_NS::Format<8, Lowered, HalfScalesMinimums>;
    static void codes(const Block& block, uint8_t* out) { affine_panel_codes<8, 32>(block.codes, out); }
    static bool scales(const Block& block, int row, uint8_t* place) {
        put_half(place, row, block.scale);
        put_half(place + 32, row, block.minimum);
        return finite_half(block.scale) && finite_half(block.minimum);
    }
};

template <typename BlockType, int bits>
struct ByteScaleMinimumPacker {
    using Block = BlockType;
    using Format = qwill::QWILL_ISA_NS::Format<bits, Plain, ByteScalesMinimums<32>>;
    static bool scales(const Block& block, int row, uint8_t* place) {
        put_half(place, row, block.scale);
        put_half(place + 32, row, block.minimum);
        for (int group = 0; group < 8; ++group) {
            const formats::GroupScale bytes = formats::k_group_scale(block, group);
            place[64 + 32 * group + row] = static_cast<uint8_t>(bytes.scale);
            place[64 + 32 * group + 16 + row] = static_cast<uint8_t>(bytes.minimum);
        }
        return finite_half(block.scale) && finite_half(block.minimum);
    }
};
struct PackQ4_K : ByteScaleMinimumPacker<formats::BlockQ4_K, 4> {
    static void codes(const Block& block, uint8_t* out) {
        for (int pair = 0; pair < 4; ++pair) nibble_rows<32>(block.quants + 32 * pair, out + 64 * pair);
    }
};
struct PackQ5_K : ByteScaleMinimumPacker<formats::BlockQ5_K, 5> {
    static void codes(const Block& block, uint8_t* out) {
        for (int pair = 0; pair < 4; ++pair) nibble_rows<32>(block.quants + 32 * pair, out + 64 * pair);
        for (int line = 0; line < 8; ++line) add_high_bits<32, 4>(block.high_bits, line, out + 32 * line);
    }
};

struct PackQ6_K {
    using Block = formats::BlockQ6_K;
    using Format = qwill::QWILL_ISA_NS::Format<6, Centred<32>, SignedByteScales<16>>;
    static void codes(const Block& block, uint8_t* out) {
        for (int half = 0; half < 2; ++half) {
            nibble_rows<64>(block.quants + 64 * half, out + 128 * half);
            for (int line = 0; line < 4; ++line) {
                add_high_pairs<32>(block.high_bits + 32 * half, 2 * line, out + 128 * half + 32 * line);
            }
        }
    }
    static bool scales(const Block& block, int row, uint8_t* place) {
        put_half(place, row, block.scale);
        for (int group = 0; group < 16; ++group) place[32 + 16 * group + row] = static_cast<uint8_t>(block.group_scales[group]);
        return finite_half(block.scale);
    }
};

struct PackQ2_K {
    using Block = formats::BlockQ2_K;
    using Format = qwill::QWILL_ISA_NS::Format<2, Plain, ByteScalesMinimums<16>>;
    static void codes(const Block& block, uint8_t* out) {
        two_bit_rows(block.quants, out);
    }
    static bool scales(const Block& block, int row, uint8_t* place) {
        put_half(place, row, block.scale);
        put_half(place + 32, row, block.minimum);
        for (int group = 0; group < 16; ++group) {
            place[64 + 32 * group + row] = block.group_scales[group] & 0x0f;
            place[64 + 32 * group + 16 + row] = block.group_scales[group] >> 4;
        }
        return finite_half(block.scale) && finite_half(block.minimum);
    }
};

struct PackQ3_K {
    using Block = formats::BlockQ3_K;
    using Format = qwill::QWILL_ISA_NS::Format<3, Centred<4>, SignedByteScales<16>>;
    static void codes(const Block& block, uint8_t* out) {
        two_bit_rows(block.quants, out);
        for (int line = 0; line < 8; ++line) add_high_bits<32, 2>(block.high_bits, line, out + 32 * line);
    }
    static bool scales(const Block& block, int row, uint8_t* place) {
        put_half(place, row, block.scale);
        for (int group = 0; group < 16; ++group) {
            place[32 + 16 * group + row] = static_cast<uint8_t>(formats::q3_k_group_scale(block, group));
        }
        return finite_half(block.scale);
    }
};

struct PackIQ4_XS {
    using Block = formats::BlockIQ4_XS;
    using Format = qwill::QWILL_ISA_NS::Format<4, Table<formats::iq4_values>, SignedByteScales<32>>;
    static void codes(const Block& block, uint8_t* out) {
        for (int line = 0; line < 8; ++line) nibble_rows<16>(block.quants + 16 * line, out + 32 * line);
    }
    static bool scales(const Block& block, int row, uint8_t* place) {
        put_half(place, row, block.scale);
        for (int group = 0; group < 8; ++group) {
            place[32 + 16 * group + row] = static_cast<uint8_t>(formats::iq4_xs_group_scale(block, group));
        }
        return finite_half(block.scale);
    }
};

struct PackMXFP4 {
    using Block = formats::BlockMXFP4;
    using Format = qwill::QWILL_ISA_NS::Format<4, Table<formats::e2m1_doubled>, PowerScales>;
    static void codes(const Block& block, uint8_t* out) { nibble_codes(block, out); }
    // The table holds doubled values, so the exponent is one less; 2^-127 and below count as zero.
    static bool scales(const Block& block, int row, uint8_t* place) {
        place[row] = block.scale == 0 ? 0 : static_cast<uint8_t>(block.scale - 1);
        return true;
    }
};

}}  // namespace qwill::QWILL_ISA_NS
