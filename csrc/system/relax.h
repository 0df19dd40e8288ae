// What a core does while it waits for another.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qwill {

// Spends a few cycles cheaply, and leaves them to the other thread of the core where it has two.
inline void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace qwill
