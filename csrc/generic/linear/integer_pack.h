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
inline void put_half(uint8_t* place, int row, uint16_t half) { std::memcpy(place + 2 * row, &half, sizeof half); }

// Adds the codes of four columns of a row (one in each byte) to the 32 columns' quants.
template <int bits>
inline void put_codes(uint8_t* quants, int row, int group, uint32_t codes) {
    const auto add = [&](int64_t at, uint32_t value) {
        uint32_t old;
        std::memcpy(&old, quants + at + 4 * row, 4);
        old |= value;
        std::memcpy(quants + at + 4 * row, &old, 4);
    };
    if (bits == 8) {
        std::memcpy(quants + 64 * group + 4 * row, &codes, 4);
        return;
    }
    if (bits < 4) {
        add(64 * (group / 4), (codes & 0x03030303u) << group % 4 * 2);
        if (bits == 3) add(128, (codes >> 2 & 0x01010101u) << group);
        return;
    }
    add(64 * (group / 2), (codes & 0x0f0f0f0fu) << group % 2 * 4);
    if (bits == 5) add(256, (codes >> 4 & 0x01010101u) << group);
    if (bits == 6) add(256 + 64 * (group / 4), (codes >> 4 & 0x03030303u) << group % 4 * 2);
}

// False when a scale is not finite. `rows` are null beyond the matrix; their scales are zero.
template <typename Packer>
bool pack_integer_panel(const uint8_t* const* rows, int64_t columns, uint8_t* panel) {
    using Format = typename Packer::Format;
    using Block = typename Packer::Block;
    constexpr int kElements = Block::elements, kBlocks = Format::kColumns / kElements;  // in a span
    std::memset(panel, 0, static_cast<size_t>(Format::panel_bytes(columns)));
    bool finite = true;
    for (int row = 0; row < kPanelRows; ++row) {
        if (rows[row] == nullptr) continue;
        const auto* blocks = reinterpret_cast<const Block*>(rows[row]);
        for (int64_t b = 0; b < columns / kElements; ++b) {
            uint8_t* span = panel + b / kBlocks * Format::kSpanBytes;
            uint8_t* quants = span + Format::kBytes + b % kBlocks * (kElements / 32 * Format::kQuantBytes);
            uint8_t codes[kElements];
            Packer::codes(blocks[b], codes);
            for (int e = 0; e < kElements; e += 4) {
                uint32_t four;
                std::memcpy(&four, codes + e, 4);
                put_codes<Format::kBits>(quants + e / 32 * Format::kQuantBytes, row, e % 32 / 4, four);
            }
            finite &= Packer::scales(blocks[b], row, span + b % kBlocks * (Format::kBytes / kBlocks));
        }
    }
    return finite;
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

// Byte j holds elements j and j + 16.
template <typename Block>
inline void nibble_codes(const Block& block, uint8_t* out) {
    for (int i = 0; i < 16; ++i) {
        out[i] = block.quants[i] & 0x0f;
        out[i + 16] = block.quants[i] >> 4;
    }
}
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
        for (int e = 0; e < 256; ++e) out[e] = block.quants[e / 64 * 32 + e % 32] >> (e / 32 % 2 * 4) & 0x0f;
    }
};
struct PackQ5_K : ByteScaleMinimumPacker<formats::BlockQ5_K, 5> {
    static void codes(const Block& block, uint8_t* out) {
        for (int e = 0; e < 256; ++e) {
            const int low = block.quants[e / 64 * 32 + e % 32] >> (e / 32 % 2 * 4) & 0x0f;
            out[e] = static_cast<uint8_t>(low | (block.high_bits[e % 32] >> (e / 32) & 1) << 4);
        }
    }
};

struct PackQ6_K {
    using Block = formats::BlockQ6_K;
    using Format = qwill::QWILL_ISA_NS::Format<6, Centred<32>, SignedByteScales<16>>;
    static void codes(const Block& block, uint8_t* out) {
        for (int e = 0; e < 256; ++e) {
            const int half = e / 128, line = e / 32 % 4, column = e % 32;
            const int low = block.quants[64 * half + 32 * (line % 2) + column] >> (line / 2 * 4) & 0x0f;
            out[e] = static_cast<uint8_t>(low | (block.high_bits[32 * half + column] >> (2 * line) & 3) << 4);
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
        for (int e = 0; e < 256; ++e) out[e] = block.quants[e / 128 * 32 + e % 32] >> (e / 32 % 4 * 2) & 3;
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
        for (int e = 0; e < 256; ++e) {
            const int low = block.quants[e / 128 * 32 + e % 32] >> (e / 32 % 4 * 2) & 3;
            out[e] = static_cast<uint8_t>(low | (block.high_bits[e % 32] >> (e / 32) & 1) << 2);
        }
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
        for (int e = 0; e < 256; ++e) out[e] = block.quants[e / 32 * 16 + e % 16] >> (e / 16 % 2 * 4) & 0x0f;
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
