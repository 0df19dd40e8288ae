// Dot products of bytes that stay in registers: the rate that no kernel can exceed, but for matrix products (matrix_tile.h),
// whose limit is twice as high.
#pragma once

#include <atomic>

#include "generic/unroll.h"
#include "threads.h"

namespace qwill { namespace QWILL_ISA_NS {

// Every thread computes `rounds` times kRegisters / 2 independent dot products of sixteen lanes of four bytes. Returns the
// multiplications and additions of all threads together.
inline int64_t dots(int64_t rounds, ThreadPool& pool) {
    constexpr int kChains = kRegisters / 2;
    const uint8_t bytes[64] = {1, 2, 3};
    std::atomic<int32_t> sum{0};
    pool.run(pool.threads(), [&](int64_t, int) {
        const U8x64 w = load_bytes(bytes);
        int32_t x = 0x01020304;
        I32x16 chains[kChains];
        unroll<kChains>([&](auto c) QWILL_INLINE { chains[c] = broadcast_i32(c); });
        for (int64_t i = 0; i < rounds; ++i) {
            asm volatile("" : "+m"(x));  // a new number each time, for all that the compiler knows
            unroll<kChains>([&](auto c) QWILL_INLINE { chains[c] = dot4(chains[c], w, &x); });
        }
        int32_t total = 0;
        unroll<kChains>([&](auto c) QWILL_INLINE { total += reduce_add(chains[c]); });
        sum += total;
    });
    return rounds * kChains * 16 * 4 * 2 * pool.threads();
}

}}  // namespace qwill::QWILL_ISA_NS
