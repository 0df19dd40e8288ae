// Q8_0: with 8 bits the scale that just holds the largest value is good enough, so that a pass over the row is all. Scale and
// quants are rounded as ggml rounds them, so that files can be compared byte by byte.
#pragma once

#include "encode/tile.h"
#include "formats/q8_0.h"

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

// The nearest whole number; of two as near the one farther from zero.
inline F32x16 round_away(F32x16 a) {
    const F32x16 size = abs(a), even = round_whole(size);
    const F32x16 whole = select_less(size - even, broadcast(0.5f), even, even + broadcast(1.0f));
    return select_less(a, zero(), zero() - whole, whole);
}

// The scales of sixteen blocks are rounded together.
inline void encode_q8_0(const float* values, int64_t count, uint8_t* out) {
    auto* blocks = reinterpret_cast<formats::BlockQ8_0*>(out);
    const int64_t total = count / 32;
    for (int64_t first = 0; first < total; first += kLanes) {
        const int64_t some = std::min(kLanes, total - first);
        float tops[kLanes] = {}, inverses[kLanes];
        for (int64_t i = 0; i < some; ++i) {
            const float* x = values + 32 * (first + i);
            tops[i] = reduce_max(max(abs(load(x)), abs(load(x + 16))));
        }
        const F32x16 steps = load(tops) / broadcast(127.0f);
        const Halves scales(steps);
        store(inverses, reciprocal(steps));
        for (int64_t i = 0; i < some; ++i) {
            const float* x = values + 32 * (first + i);
            formats::BlockQ8_0& block = blocks[first + i];
            block.scale = scales.bits[i];
            const F32x16 inverse = broadcast(inverses[i]), limit = broadcast(127.0f);
            for (int half = 0; half < 2; ++half) {
                const F32x16 quants = round_away(load(x + 16 * half) * inverse);
                store_i8(block.quants + 16 * half, round_i32(min(limit, max(zero() - limit, quants))));
            }
        }
    }
}

}}}  // namespace qwill::QWILL_ISA_NS::encode
