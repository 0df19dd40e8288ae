// Work over many independent rows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "threads.h"

namespace qwill { namespace QWILL_ISA_NS {

// Calls f(row, thread) for every row, in tasks of enough rows that taking one costs little beside it. `cost` is about the
// number of floats that a row touches.
template <typename F>
inline void for_rows(ThreadPool& pool, int64_t rows, int64_t cost, const F& f) {
    constexpr int64_t kTaskCost = 8192;
    const int64_t group = std::max<int64_t>(1, kTaskCost / std::max<int64_t>(cost, 1));
    pool.run((rows + group - 1) / group, [&](int64_t task, int thread) {
        for (int64_t row = task * group; row < std::min(rows, (task + 1) * group); ++row) f(row, thread);
    });
}

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}}  // namespace qwill::QWILL_ISA_NS
