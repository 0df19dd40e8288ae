// Loops unrolled by the compiler for certain, so that arrays of vectors stay in registers.
#pragma once

#include <type_traits>
#include <utility>

#define QWILL_INLINE __attribute__((always_inline))

namespace qwill { namespace QWILL_ISA_NS {

template <typename F, int... indices>
QWILL_INLINE constexpr void unroll_over(F&& f, std::integer_sequence<int, indices...>) {
    (f(std::integral_constant<int, indices>{}), ...);
}

// f(0), f(1), ..., f(n - 1), each argument a constant type.
template <int n, typename F>
QWILL_INLINE constexpr void unroll(F&& f) { unroll_over(f, std::make_integer_sequence<int, n>{}); }

}}  // namespace qwill::QWILL_ISA_NS
