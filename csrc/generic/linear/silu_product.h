// What stands between the matrices of a gated feed-forward network, by itself: for rows to whose gate and up something is
// added before. The same function on the same numbers as in experts.h, so that a row's bits do not depend on the way.
#pragma once

#include "generic/math.h"
#include "generic/rows.h"
#include "linear.h"

namespace qwill { namespace QWILL_ISA_NS {

inline void silu_product(const SiluProductArgs& args, ThreadPool& pool) {
    for_rows(pool, args.tokens, args.width, [&](int64_t t, int) {
        const float* up = args.up + t * args.width;
        float* gate = args.gate + t * args.width;
        int64_t i = 0;
        for (; i + 16 <= args.width; i += 16) store(gate + i, silu(load(gate + i)) * load(up + i));
        const int64_t rest = args.width - i;
        if (rest > 0) store_first(gate + i, silu(load_first(gate + i, rest)) * load_first(up + i, rest), rest);
    });
}

}}  // namespace qwill::QWILL_ISA_NS
