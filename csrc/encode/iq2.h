// IQ2_XXS, IQ2_XS and IQ2_S: eight magnitudes to a codeword.
#pragma once

#include "encode/codebook_scales.h"
#include "formats/iq2.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

// A scale maps its group's typical size between the levels 15 (a few large values) and 45 (all of about one size) of 8, 25, 43.
constexpr ScaleRange kIQ2Scales{15, 0.125f, 1.0f / 45.0f, 1.0f / 15.0f};

inline void encode(const float* values, const float* weights, formats::BlockIQ2_XXS& block) {
    static const Columns<256, 8> columns(formats::iq2_xxs_codebook);
    CodebookSearch<8, Columns<256, 8>> search(values, weights);
    for (auto& part : search.parts) part.odd = part.has_odd_signs();
    search.run(columns, kIQ2Scales);
    block = {};
    if (!(search.scales.gain > 0.0f)) return;
    block.scale = search.scales.half;
    for (int group = 0; group < 8; ++group) {
        uint32_t bits = static_cast<uint32_t>(search.scales.numbers[group]) << 28;
        for (int eight = 0; eight < 4; ++eight) {
            const int index = search.codeword(4 * group + eight);
            const uint32_t signs = search.parts[4 * group + eight].stored_signs(formats::iq2_xxs_codebook.values[index]);
            block.groups[group].indices[eight] = static_cast<uint8_t>(index);
            bits |= (signs & 0x7fu) << 7 * eight;
        }
        block.groups[group].signs_and_scale = bits;
    }
}

inline void encode(const float* values, const float* weights, formats::BlockIQ2_XS& block) {
    static const Columns<512, 8> columns(formats::iq2_xs_codebook);
    CodebookSearch<16, Columns<512, 8>> search(values, weights);
    for (auto& part : search.parts) part.odd = part.has_odd_signs();
    search.run(columns, kIQ2Scales);
    block = {};
    if (!(search.scales.gain > 0.0f)) return;
    block.scale = search.scales.half;
    for (int eight = 0; eight < 32; ++eight) {
        const int index = search.codeword(eight);
        const uint32_t signs = search.parts[eight].stored_signs(formats::iq2_xs_codebook.values[index]);
        block.codes[eight] = static_cast<uint16_t>(static_cast<uint32_t>(index) | (signs & 0x7fu) << 9);
    }
    put_numbers(search.scales, block.group_scales);
}

inline void encode(const float* values, const float* weights, formats::BlockIQ2_S& block) {
    static const Columns<1024, 8> columns(formats::iq2_s_codebook);
    CodebookSearch<16, Columns<1024, 8>> search(values, weights);
    search.run(columns, kIQ2Scales);
    block = {};
    if (!(search.scales.gain > 0.0f)) return;
    block.scale = search.scales.half;
    for (int eight = 0; eight < 32; ++eight) {
        const int index = search.codeword(eight);
        block.indices[eight] = static_cast<uint8_t>(index);
        block.high_bits[eight / 4] = static_cast<uint8_t>(block.high_bits[eight / 4] | index >> 8 << eight % 4 * 2);
        block.signs[eight] = static_cast<uint8_t>(search.parts[eight].signs);
    }
    put_numbers(search.scales, block.group_scales);
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
