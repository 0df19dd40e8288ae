// IQ3_XXS and IQ3_S: four magnitudes to a codeword.
#pragma once

#include "encode/codebook_scales.h"
#include "formats/iq3.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

// A scale maps its group's typical size between 17 / 62 (a few large values) and 52 / 62 of the highest level.
constexpr ScaleRange kIQ3_XXSScales{15, 0.25f, 1.0f / 52.0f, 1.0f / 17.0f};
constexpr ScaleRange kIQ3_SScales{15, 1.0f, 1.0f / 12.5f, 1.0f / 4.1f};

// Seven bits hold the signs of two fours. Where one must be wrong, the four with the smallest product takes it.
inline void choose_odd_four(Part<4>* fours) {
    if (fours[0].has_odd_signs() == fours[1].has_odd_signs()) return;
    const auto least = [](const Part<4>& four) { return *std::min_element(four.products, four.products + 4); };
    (least(fours[1]) < least(fours[0]) ? fours[1] : fours[0]).odd = true;
}

inline void encode(const float* values, const float* weights, formats::BlockIQ3_XXS& block) {
    static const Columns<256, 4> columns(formats::iq3_xxs_codebook);
    CodebookSearch<8, Columns<256, 4>> search(values, weights);
    for (int eight = 0; eight < 32; ++eight) choose_odd_four(search.parts + 2 * eight);
    search.run(columns, kIQ3_XXSScales);
    block = {};
    if (!(search.scales.gain > 0.0f)) return;
    block.scale = search.scales.half;
    for (int group = 0; group < 8; ++group) {
        uint32_t bits = static_cast<uint32_t>(search.scales.numbers[group]) << 28;
        for (int i = 0; i < 8; ++i) {
            const int four = 8 * group + i, index = search.codeword(four);
            block.indices[four] = static_cast<uint8_t>(index);
            // The eighth sign of two fours follows from the others.
            const uint32_t stored = search.parts[four].stored_signs(formats::iq3_xxs_codebook.values[index]) & (i % 2 ? 0x7u : 0xfu);
            bits |= stored << (7 * (i / 2) + 4 * (i % 2));
        }
        block.signs_and_scales[group] = bits;
    }
}

inline void encode(const float* values, const float* weights, formats::BlockIQ3_S& block) {
    static const Columns<512, 4> columns(formats::iq3_s_codebook);
    CodebookSearch<8, Columns<512, 4>> search(values, weights);
    search.run(columns, kIQ3_SScales);
    block = {};
    if (!(search.scales.gain > 0.0f)) return;
    block.scale = search.scales.half;
    for (int four = 0; four < 64; ++four) {
        const int index = search.codeword(four);
        block.indices[four] = static_cast<uint8_t>(index);
        block.high_bits[four / 8] = static_cast<uint8_t>(block.high_bits[four / 8] | index >> 8 << four % 8);
        block.signs[four / 2] = static_cast<uint8_t>(block.signs[four / 2] | search.parts[four].signs << four % 2 * 4);
    }
    put_numbers(search.scales, block.group_scales);
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
