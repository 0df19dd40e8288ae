// IQ1_S and IQ1_M: eight of -1, 0, 1 to a codeword, all shifted by 1/8 up or down.
#pragma once

#include "encode/codebook_scales.h"
#include "formats/iq1.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

using IQ1Columns = Columns<2048, 8>;

// A scale is between a third of its group's typical size and half as much again.
constexpr ScaleRange kIQ1Scales{7, 1.0f, 1.0f / 3.0f, 1.5f};

inline const IQ1Columns& iq1_columns() {
    static const IQ1Columns columns(formats::iq1_codebook);
    return columns;
}

// Correlations and energies of all codewords with an eight, shifted: where they go.
struct ShiftedPoints {
    float *correlations_up, *energies_up, *correlations_down, *energies_down;
};

// With q' = q + 1/8 or q - 1/8: sum(w x q') = sum(w x q) +- sum(w x) / 8, sum(w q'^2) = sum(w q^2) +- sum(w q) / 4 + sum(w) / 64.
template <int parts>
void correlate_shifted(const float* values, const float* weights, const ShiftedPoints* points) {
    const IQ1Columns& columns = iq1_columns();
    float products[parts][8], product_sum[parts] = {}, weight_sum[parts] = {};
    for (int k = 0; k < parts; ++k) {
        for (int d = 0; d < 8; ++d) {
            const float weight = weights[8 * k + d];
            products[k][d] = weight * std::min(kLargestValue, std::max(-kLargestValue, values[8 * k + d]));
            product_sum[k] += products[k][d];
            weight_sum[k] += weight;
        }
    }
    for (int i = 0; i < IQ1Columns::codewords / kLanes; ++i) {
        F32x16 correlation[parts], energy[parts], sum[parts];
        for (int k = 0; k < parts; ++k) {
            correlation[k] = zero();
            sum[k] = zero();
            energy[k] = broadcast(weight_sum[k] / 64.0f);
        }
        for (int d = 0; d < 8; ++d) {
            const F32x16 level = load(columns.elements[i][d].levels), square = load(columns.elements[i][d].squares);
            for (int k = 0; k < parts; ++k) {
                const F32x16 weight = broadcast(weights[8 * k + d]);
                correlation[k] = correlation[k] + broadcast(products[k][d]) * level;
                sum[k] = sum[k] + weight * level;
                energy[k] = energy[k] + weight * square;
            }
        }
        for (int k = 0; k < parts; ++k) {
            const F32x16 shift = broadcast(product_sum[k] * 0.125f), cross = sum[k] * broadcast(0.25f);
            store(points[k].correlations_up + kLanes * i, correlation[k] + shift);
            store(points[k].correlations_down + kLanes * i, correlation[k] - shift);
            store(points[k].energies_up + kLanes * i, energy[k] + cross);
            store(points[k].energies_down + kLanes * i, energy[k] - cross);
        }
    }
}

// A group of 32 has one shift: the one that gains more at its own best scale.
inline void encode(const float* values, const float* weights, formats::BlockIQ1_S& block) {
    Candidates<IQ1Columns::codewords> up[4], down[4];
    ShiftedPoints points[4];
    for (int k = 0; k < 4; ++k) points[k] = {up[k].correlations, up[k].energies, down[k].correlations, down[k].energies};
    Group<4> groups[8];
    bool is_down[8];
    for (int g = 0; g < 8; ++g) {
        const ScaleEnds ends(kIQ1Scales, typical_size(values + 32 * g, weights + 32 * g, 32));
        correlate_shifted<4>(values + 32 * g, weights + 32 * g, points);
        Group<4> other;
        for (int k = 0; k < 4; ++k) {
            groups[g].hulls[k] = up[k].hull(ends.smallest, ends.largest);
            other.hulls[k] = down[k].hull(ends.smallest, ends.largest);
        }
        groups[g].merge();
        other.merge();
        is_down[g] = other.best().gain > groups[g].best().gain;
        if (is_down[g]) groups[g] = other;
    }
    const BlockScales<8> scales = ScaleSearch<8, 4>(groups, kIQ1Scales).run();
    block = {};
    if (!(scales.gain > 0.0f)) return;
    block.scale = scales.half;
    for (int g = 0; g < 8; ++g) {
        int bits = scales.numbers[g] << 12 | (is_down[g] ? 0x8000 : 0);
        for (int k = 0; k < 4; ++k) {
            const int index = groups[g].hulls[k].codeword(scales.of(g));
            block.indices[4 * g + k] = static_cast<uint8_t>(index);
            bits |= index >> 8 << 3 * k;
        }
        block.groups[g] = static_cast<uint16_t>(bits);
    }
}

// Here every eight has a shift of its own, as if the codebook were twice as large.
inline void encode(const float* values, const float* weights, formats::BlockIQ1_M& block) {
    constexpr int codewords = IQ1Columns::codewords;
    Candidates<2 * codewords> candidates[2];
    ShiftedPoints points[2];
    for (int k = 0; k < 2; ++k) {
        float *correlations = candidates[k].correlations, *energies = candidates[k].energies;
        points[k] = {correlations, energies, correlations + codewords, energies + codewords};
    }
    Group<2> groups[16];
    for (int g = 0; g < 16; ++g) {
        const ScaleEnds ends(kIQ1Scales, typical_size(values + 16 * g, weights + 16 * g, 16));
        correlate_shifted<2>(values + 16 * g, weights + 16 * g, points);
        for (int k = 0; k < 2; ++k) groups[g].hulls[k] = candidates[k].hull(ends.smallest, ends.largest);
        groups[g].merge();
    }
    const BlockScales<16> scales = ScaleSearch<16, 2>(groups, kIQ1Scales).run();
    block = {};
    if (!(scales.gain > 0.0f)) return;
    for (int i = 0; i < 4; ++i) block.group_scales[i] = static_cast<uint16_t>((scales.half >> 4 * i & 0x0f) << 12);
    for (int g = 0; g < 16; ++g) {
        block.group_scales[g / 4] = static_cast<uint16_t>(block.group_scales[g / 4] | scales.numbers[g] << g % 4 * 3);
        for (int k = 0; k < 2; ++k) {
            const int found = groups[g].hulls[k].codeword(scales.of(g)), index = found % codewords;
            const int nibble = index >> 8 | (found >= codewords ? 8 : 0);
            block.indices[2 * g + k] = static_cast<uint8_t>(index);
            block.high_bits[g] = static_cast<uint8_t>(block.high_bits[g] | nibble << 4 * k);
        }
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
