// What the operating system knows of memory.
#pragma once

#include <cstdint>

namespace qwill {

// Uninitialised bytes on a cache line's boundary; large ones on huge pages where programs may have them. `size` is above 0.
// Throws std::bad_alloc.
uint8_t* take_memory(int64_t size);

// What take_memory gave; or nullptr.
void free_memory(uint8_t* memory);

// Lets go of a mapped file's pages that lie wholly in a range: they count as memory of the process no longer, and are read
// again when they are asked for. A wish on macOS, where they are the first to go when memory is short.
void give_back(const uint8_t* begin, const uint8_t* end);

constexpr int64_t kCacheLine = 64, kHugePage = int64_t{2} << 20;

}  // namespace qwill
