#include "system/memory.h"

#include <cstdlib>
#include <new>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <malloc.h>
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace qwill {

namespace {

// The whole pages within a range.
struct Pages {
    Pages(const uint8_t* begin, const uint8_t* end, uintptr_t page)
        : first((reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page),
          last(reinterpret_cast<uintptr_t>(end) / page * page) {}
    bool any() const { return first < last; }
    void* data() const { return reinterpret_cast<void*>(first); }
    size_t size() const { return last - first; }

    uintptr_t first, last;
};

}  // namespace

#if defined(_WIN32)

// Large pages need a privilege that accounts do not have by default, and cannot be swapped out.
uint8_t* take_memory(int64_t size) {
    void* memory = _aligned_malloc(static_cast<size_t>(size), static_cast<size_t>(kCacheLine));
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<uint8_t*>(memory);
}

void free_memory(uint8_t* memory) { _aligned_free(memory); }

void give_back(const uint8_t* begin, const uint8_t* end) {
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    const Pages pages(begin, end, system.dwPageSize);
    // Pages that are not locked leave the working set; that they were not is then told as an error.
    if (pages.any()) VirtualUnlock(pages.data(), pages.size());
}

#else

uint8_t* take_memory(int64_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const bool huge = size >= kHugePage;
#else
    const bool huge = false;
#endif
    void* memory = nullptr;
    const int64_t alignment = huge ? kHugePage : kCacheLine;
    if (posix_memalign(&memory, static_cast<size_t>(alignment), static_cast<size_t>(size)) != 0) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // A wish: nothing is lost when it is refused. Whole pages only, so that no memory is taken beyond the size.
    if (huge) madvise(memory, static_cast<size_t>(size / kHugePage * kHugePage), MADV_HUGEPAGE);
#endif
    return static_cast<uint8_t*>(memory);
}

void free_memory(uint8_t* memory) { std::free(memory); }

void give_back(const uint8_t* begin, const uint8_t* end) {
    const Pages pages(begin, end, static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)));  // 16 kB on Apple's processors
    if (pages.any()) madvise(pages.data(), pages.size(), MADV_DONTNEED);
}

#endif

}  // namespace qwill
