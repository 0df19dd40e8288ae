// MXFP4 and NVFP4: 4-bit floats under a power of two, or under an E4M3 number, for each group.
//
// A handful of scales around the one that just holds the largest value are tried, each with its whole error: a scale that
// clips it may suit the others better.
#pragma once

#include "encode/search.h"
#include "formats/fp4.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

// The numbers of E2M1, doubled: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives.
struct E2M1Levels {
    // They lie 1, 2 or 4 apart: so far apart are floats past 1.5 * 2^23 times that, where adding rounds, ties to even.
    QWILL_INLINE F32x16 nearest(F32x16 a) const {
        const F32x16 held = min(broadcast(12.0f), max(broadcast(-12.0f), a)), size = abs(held);
        const F32x16 large = select_less(size, broadcast(8.0f), broadcast(2.0f * 12582912.0f), broadcast(4.0f * 12582912.0f));
        const F32x16 shift = select_less(size, broadcast(4.0f), broadcast(12582912.0f), large);
        return (held + shift) - shift;
    }
};

// The codes of doubled numbers, those of -12 .. 12.
inline uint8_t e2m1_code(int8_t doubled) {
    constexpr uint8_t codes[25] = {15, 0, 0, 0, 14, 0, 13, 0, 12, 11, 10, 9, 0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7};
    return codes[doubled + 12];
}

// For each lane, of the codes at `offsets` from a first guess, the one of least error; `halved(code)` is half of its scale,
// which is what the doubled levels are multiplied by.
template <class Halved>
struct CodeSearch {
    int lowest, highest;
    Halved halved;
    int codes[kLanes];
    F32x16 scale = zero();

    template <int n, size_t count>
    void run(const float (*x)[kLanes], const float* weights, const int* guess, const int (&offsets)[count]) {
        alignas(64) float tried[kLanes], errors[kLanes];
        float least[kLanes] = {};
        F32x16 least_error = zero();
        for (size_t i = 0; i < count; ++i) {
            int code[kLanes];
            for (int lane = 0; lane < kLanes; ++lane) {
                code[lane] = std::min(std::max(guess[lane] + offsets[i], lowest), highest);
                tried[lane] = halved(static_cast<uint8_t>(code[lane]));
            }
            const F32x16 scaled = load(tried);
            const F32x16 error = scale_sums<n>(x, ColumnWeights{weights}, scaled, reciprocal(scaled), E2M1Levels{}).error;
            store(errors, error);
            for (int lane = 0; lane < kLanes; ++lane) {
                if (i > 0 && errors[lane] >= least[lane]) continue;
                codes[lane] = code[lane];
                least[lane] = errors[lane];
            }
            scale = i == 0 ? scaled : select_less(error, least_error, scaled, scale);
            least_error = i == 0 ? error : min(error, least_error);
        }
    }
};

// The exponent of the largest magnitude, at least -126.
inline void exponents(F32x16 largest_value, int* out) {
    float values[kLanes];
    store(values, largest_value);
    for (int lane = 0; lane < kLanes; ++lane) {
        out[lane] = std::max(static_cast<int>(formats::float_to_bits(values[lane]) >> 23 & 0xff), 1) - 127;
    }
}

inline void encode(const Tile<32>& tile, const float* weights, formats::BlockMXFP4* blocks) {
    // The scale 2^(e - 2), with the largest magnitude in [2^e, 2^(e + 1)), reaches to 1.5 * 2^e. Code 2 is the first whose
    // half is a normal float.
    int guess[kLanes];
    exponents(largest<32>(tile.values), guess);
    for (int& code : guess) code += 127 - 2;
    CodeSearch<decltype(&formats::e8m0_to_float_halved)> search{2, 252, formats::e8m0_to_float_halved, {}};
    search.run<32>(tile.values, weights, guess, {0, -1, 1});
    const F32x16 inverse = reciprocal(search.scale);
    Quants<32> quants;
    for (int i = 0; i < 32; ++i) quants.put(i, E2M1Levels{}.nearest(load(tile.values[i]) * inverse));
    for (int lane = 0; lane < kLanes; ++lane) {
        const int8_t* q = quants.lanes[lane];
        blocks[lane].scale = static_cast<uint8_t>(search.codes[lane]);
        for (int i = 0; i < 16; ++i) blocks[lane].quants[i] = static_cast<uint8_t>(e2m1_code(q[i]) | e2m1_code(q[i + 16]) << 4);
    }
}

// The largest E4M3 code, NaN's aside, of which six times the number is at most `top`.
inline int e4m3_code_below(float top) {
    int code = 0;
    for (int bit = 64; bit > 0; bit /= 2) {
        const int next = code + bit;
        if (next <= 0x7e && 12.0f * formats::e4m3_scale_to_float_halved(static_cast<uint8_t>(next)) <= top) code = next;
    }
    return code;
}

inline void encode(const Tile<64>& tile, const float* weights, formats::BlockNVFP4* blocks) {
    for (int group = 0; group < 4; ++group) {
        const float(*x)[kLanes] = tile.values + 16 * group;
        float tops[kLanes];
        store(tops, abs(largest<16>(x)));
        int guess[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) guess[lane] = e4m3_code_below(tops[lane]);
        CodeSearch<decltype(&formats::e4m3_scale_to_float_halved)> search{0, 0x7e, formats::e4m3_scale_to_float_halved, {}};
        search.run<16>(x, weights + 16 * group, guess, {0, 1, -1, -2, -3, 2});
        const F32x16 inverse = reciprocal(search.scale);
        Quants<16> quants;
        for (int i = 0; i < 16; ++i) quants.put(i, E2M1Levels{}.nearest(load(x[i]) * inverse));
        for (int lane = 0; lane < kLanes; ++lane) {
            const int8_t* q = quants.lanes[lane];
            blocks[lane].scales[group] = static_cast<uint8_t>(search.codes[lane]);
            for (int i = 0; i < 8; ++i) {
                blocks[lane].quants[8 * group + i] = static_cast<uint8_t>(e2m1_code(q[i]) | e2m1_code(q[i + 8]) << 4);
            }
        }
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
