// How work is cut into tasks.
#pragma once

#include <algorithm>
#include <cstdint>

#include "threads.h"

namespace qwill { namespace QWILL_ISA_NS {

// Work is weighed by about the number of floats it handles, a few operations each.
constexpr int64_t kTaskCost = 8192;     // of a task, so that taking one costs little beside it
constexpr int64_t kSerialCost = 65536;  // below this, waking the other threads costs more than they help

// Calls f(task, thread) for every task; `cost` is that of all tasks together.
template <typename F>
inline void run_tasks(ThreadPool& pool, int64_t tasks, int64_t cost, const F& f) {
    if (cost >= kSerialCost) return pool.run(tasks, f);
    for (int64_t task = 0; task < tasks; ++task) f(task, 0);
}

// Calls f(row, thread) for every row; `cost` is that of a row.
template <typename F>
inline void for_rows(ThreadPool& pool, int64_t rows, int64_t cost, const F& f) {
    const int64_t group = std::max<int64_t>(1, kTaskCost / std::max<int64_t>(cost, 1));
    run_tasks(pool, (rows + group - 1) / group, rows * cost, [&](int64_t task, int thread) {
        for (int64_t row = task * group; row < std::min(rows, (task + 1) * group); ++row) f(row, thread);
    });
}

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}}  // namespace qwill::QWILL_ISA_NS
