// What adapters add to projections: out += scale b (a x), for several runs of rows and several matrices in two jobs.
//
// A row's bits depend neither on the rows beside it nor on what is computed together. The matrices are small: a job for each
// would take longer to begin than to do, and so would putting the rows into tiles.
#pragma once

#include "generic/linear/project.h"

namespace qwill { namespace QWILL_ISA_NS {

// What lies so many bytes behind is asked for while a column is multiplied: the panels of b are too short for the next one to
// come in time, and behind a matrix lies the one that is read next, since they are packed in that order.
constexpr int64_t kFetchedAhead = 8 << 10;

// finish(t, p, sums) gets the products of panels [first, last) with N rows of x.
template <int N, typename Finish>
void multiply_rows(const Weight& weight, int64_t first, int64_t last, const float* x, const Finish& finish) {
    const int64_t columns = weight.columns;
    const auto* weights = reinterpret_cast<const float*>(weight.parts[0] + first * weight.panel_bytes);
    for (int64_t p = first; p < last; ++p) {
        F32x16 total[N];
        unroll<N>([&](auto t) QWILL_INLINE { total[t] = zero(); });
        for (int64_t begin = 0; begin < columns; begin += kSumColumns) {
            const int64_t end = std::min(begin + kSumColumns, columns);
            F32x16 sum[N];
            unroll<N>([&](auto t) QWILL_INLINE { sum[t] = zero(); });
            for (int64_t k = begin; k < end; ++k, weights += kPanelRows) {
                __builtin_prefetch(reinterpret_cast<const uint8_t*>(weights) + kFetchedAhead);
                const F32x16 w = load(weights);
                unroll<N>([&](auto t) QWILL_INLINE { sum[t] = fma(w, broadcast(x[t * columns + k]), sum[t]); });
            }
            unroll<N>([&](auto t) QWILL_INLINE { total[t] = total[t] + sum[t]; });
        }
        unroll<N>([&](auto t) QWILL_INLINE { finish(static_cast<int64_t>(t), p, total[t]); });
    }
}

// The same for any number of rows, a tile's number of them at a time.
template <int N = kTileTokens, typename Finish>
void multiply(const Weight& weight, int64_t first, int64_t last, const float* x, int64_t rows, const Finish& finish) {
    int64_t row = 0;
    for (; row + N <= rows; row += N) {
        multiply_rows<N>(weight, first, last, x + row * weight.columns,
                         [&](int64_t t, int64_t p, F32x16 sums) QWILL_INLINE { finish(row + t, p, sums); });
    }
    if constexpr (N > 1) {
        if (row == rows) return;
        multiply<N - 1>(weight, first, last, x + row * weight.columns, rows - row,
                        [&](int64_t t, int64_t p, F32x16 sums) QWILL_INLINE { finish(row + t, p, sums); });
    }
}

// Calls body(part, first panel, last panel) for pieces of the panels of all parts' matrices, in one job.
template <typename Matrix, typename Body>
inline void over_parts(const LowRankArgs& args, ThreadPool& pool, const Matrix& matrix, const Body& body) {
    int64_t panels = 0;
    for (int64_t i = 0; i < args.count; ++i) panels += matrix(args.parts[i]).panels();
    const int64_t step = panels_per_task(panels, pool);
    pool.run(ceil_div(panels, step), [&](int64_t task, int) {
        int64_t first = task * step, last = std::min(first + step, panels);
        for (int64_t i = 0; i < args.count && first < last; ++i) {
            const int64_t own = matrix(args.parts[i]).panels();
            if (first < own) body(i, first, std::min(last, own));
            first = std::max<int64_t>(first - own, 0);
            last -= own;
        }
    });
}

// x behind the norm, for the rows of all parts.
inline const float* normed_rows(const LowRankArgs& args, int64_t columns, ThreadPool& pool, Workspace& workspace) {
    if (args.norm == nullptr) return args.x;
    int64_t first = args.parts[0].first, last = args.parts[0].last;
    for (int64_t i = 1; i < args.count; ++i) {
        first = std::min(first, args.parts[i].first);
        last = std::max(last, args.parts[i].last);
    }
    float* normed = workspace.take<float>(last * columns);
    for_rows(pool, last - first, columns, [&](int64_t row, int) {
        const int64_t at = (first + row) * columns;
        rms_norm_row(args.x + at, args.norm, normed + at, columns, args.eps);
    });
    return normed;
}

inline void low_rank(const LowRankArgs& args, ThreadPool& pool, Workspace& workspace) {
    workspace.reset();
    const int64_t columns = args.parts[0].a->columns;
    const float* x = normed_rows(args, columns, pool, workspace);
    float** lows = workspace.take<float*>(args.count);  // [rows, rank] of each part
    for (int64_t i = 0; i < args.count; ++i) {
        lows[i] = workspace.take<float>((args.parts[i].last - args.parts[i].first) * args.parts[i].a->rows);
    }
    over_parts(args, pool, [](const LowRankPart& part) -> const Weight& { return *part.a; },
               [&](int64_t i, int64_t first, int64_t last) {
        const LowRankPart& part = args.parts[i];
        const int64_t rank = part.a->rows;
        multiply(*part.a, first, last, x + part.first * columns, part.last - part.first, [&](int64_t t, int64_t p, F32x16 sums) {
            const int64_t row = p * kPanelRows;
            store_first(lows[i] + t * rank + row, sums * broadcast(part.scale), std::min(rank - row, kPanelRows));
        });
    });
    over_parts(args, pool, [](const LowRankPart& part) -> const Weight& { return *part.b; },
               [&](int64_t i, int64_t first, int64_t last) {
        const LowRankPart& part = args.parts[i];
        const int64_t rows = part.b->rows;
        multiply(*part.b, first, last, lows[i], part.last - part.first, [&](int64_t t, int64_t p, F32x16 sums) {
            float* place = part.out + (part.first + t) * rows + p * kPanelRows;
            const int64_t n = rows - p * kPanelRows;
            if (n >= kPanelRows) store(place, load(place) + sums);
            else store_first(place, load_first(place, n) + sums, n);
        });
    });
}

}}  // namespace qwill::QWILL_ISA_NS
