// Memory for weights and for intermediate results.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "system/memory.h"

namespace qwill {

// Uninitialised bytes on a cache line's boundary; large ones on huge pages where the system has them.
class AlignedBuffer {
public:
    AlignedBuffer() = default;
    explicit AlignedBuffer(int64_t size) : data_(size == 0 ? nullptr : take_memory(size)), size_(size) {}
    AlignedBuffer(AlignedBuffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~AlignedBuffer() { free_memory(data_); }

    uint8_t* data() const { return data_; }
    int64_t size() const { return size_; }

private:
    uint8_t* data_ = nullptr;
    int64_t size_ = 0;
};

// Scratch memory that grows to what the largest call needs and is then used again by every call.
class Workspace {
public:
    // Room for `count` values, uninitialised, until the next reset().
    template <typename T>
    T* take(int64_t count) {
        const int64_t size = (count * static_cast<int64_t>(sizeof(T)) + kCacheLine - 1) / kCacheLine * kCacheLine;
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
