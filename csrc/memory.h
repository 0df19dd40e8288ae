// Memory for weights and for intermediate results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace qwill {

// Uninitialised bytes on a cache line's boundary; large ones on huge pages where the system has them.
class AlignedBuffer {
public:
    AlignedBuffer() = default;
    explicit AlignedBuffer(int64_t size) : size_(size) {
        if (size == 0) return;
        const int64_t alignment = size >= kHugePage ? kHugePage : kCacheLine;
        void* memory = nullptr;
        if (posix_memalign(&memory, static_cast<size_t>(alignment), static_cast<size_t>(size)) != 0) throw std::bad_alloc();
        data_ = static_cast<uint8_t*>(memory);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        // A wish: nothing is lost when it is refused. Whole pages only, so that no memory is taken beyond the size.
        if (size >= kHugePage) madvise(memory, static_cast<size_t>(size / kHugePage * kHugePage), MADV_HUGEPAGE);
#endif
    }
    AlignedBuffer(AlignedBuffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~AlignedBuffer() { std::free(data_); }

    uint8_t* data() const { return data_; }
    int64_t size() const { return size_; }

    static constexpr int64_t kCacheLine = 64, kHugePage = int64_t{2} << 20;

private:
    uint8_t* data_ = nullptr;
    int64_t size_ = 0;
};

// Lets go of a mapped file's pages that lie wholly in a range: they count as memory of the process no longer, and are read
// again when they are asked for.
inline void give_back(const uint8_t* begin, const uint8_t* end) {
#if defined(__linux__) && defined(MADV_DONTNEED)
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
    const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page * page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
#else
    (void)begin, (void)end;
#endif
}

// Scratch memory that grows to what the largest call needs and is then used again by every call.
class Workspace {
public:
    // Room for `count` values, uninitialised, until the next reset().
    template <typename T>
    T* take(int64_t count) {
        const int64_t line = AlignedBuffer::kCacheLine;
        const int64_t size = (count * static_cast<int64_t>(sizeof(T)) + line - 1) / line * line;
        if (chunks_.empty() || used_ + size > chunks_.back().size()) {
            chunks_.emplace_back(size > kSmallest ? size : kSmallest);
            used_ = 0;
        }
        T* memory = reinterpret_cast<T*>(chunks_.back().data() + used_);
        used_ += size;
        return memory;
    }

    // Frees everything taken. A call that needed several pieces makes the next one find a single piece of their size.
    void reset() {
        if (chunks_.size() > 1) {
            int64_t total = 0;
            for (const AlignedBuffer& chunk : chunks_) total += chunk.size();
            chunks_.clear();
            chunks_.emplace_back(total);
        }
        used_ = 0;
    }

    // Sets every byte: with 0xff all floats are NaN, which shows a kernel that reads what it never wrote.
    void fill(uint8_t byte) {
        for (const AlignedBuffer& chunk : chunks_) for (int64_t i = 0; i < chunk.size(); ++i) chunk.data()[i] = byte;
    }

private:
    static constexpr int64_t kSmallest = int64_t{1} << 20;
    std::vector<AlignedBuffer> chunks_;
    int64_t used_ = 0;
};

}  // namespace qwill
