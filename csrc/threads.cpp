#include "threads.h"

#include <chrono>

#include "system/relax.h"

namespace qwill {

namespace {

// Long enough to bridge the Python code between two kernels, short enough not to heat an idle machine.
constexpr std::chrono::microseconds kSpin{200};

// Spins until `done()`, giving the core away now and then: a worker may need it on an oversubscribed machine.
template <typename Done>
bool spin_until(const Done& done, std::chrono::microseconds limit) {
    const auto start = std::chrono::steady_clock::now();
    for (;;) {
        for (int i = 0; i < 64; ++i) {
            if (done()) return true;
            relax();
        }
        if (std::chrono::steady_clock::now() - start > limit) return false;
    }
}

}  // namespace

ThreadPool::ThreadPool(int threads) : shares_(new Share[static_cast<size_t>(threads)]) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
    {
        std::lock_guard<std::mutex> lock(sleep_mutex_);
        stop_.store(true);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void ThreadPool::drain(int thread) {
    for (int i = 0; i < threads(); ++i) {
        Share& share = shares_[static_cast<size_t>((thread + i) % threads())];
        for (;;) {
            const int64_t index = share.next.fetch_add(1, std::memory_order_relaxed);
            if (index >= share.end) break;
            entry_(context_, index, thread);
        }
    }
}

void ThreadPool::work(int thread) {
    uint64_t seen = 0;
    const auto ready = [&] { return generation_.load(std::memory_order_acquire) != seen || stop_.load(); };
    for (;;) {
        if (!spin_until(ready, kSpin)) {
            std::unique_lock<std::mutex> lock(sleep_mutex_);
            ++sleeping_;
            wake_.wait(lock, ready);
            --sleeping_;
        }
        if (stop_.load()) return;
        seen = generation_.load(std::memory_order_acquire);
        // Announced before looking: either this worker sees that the job is closed, or the caller sees the worker.
        active_.fetch_add(1);
        if (open_.load()) drain(thread);
        active_.fetch_sub(1, std::memory_order_release);
    }
}

void ThreadPool::dispatch(int64_t tasks, Entry entry, const void* context) {
    std::lock_guard<std::mutex> job(job_mutex_);
    entry_ = entry;
    context_ = context;
    for (int64_t i = 0; i < threads(); ++i) {
        Share& share = shares_[static_cast<size_t>(i)];
        share.next.store(tasks * i / threads(), std::memory_order_relaxed);
        share.end = tasks * (i + 1) / threads();
    }
    open_.store(true);
    bool asleep = false;
    {
        std::lock_guard<std::mutex> lock(sleep_mutex_);
        generation_.fetch_add(1, std::memory_order_release);
        asleep = sleeping_ > 0;
    }
    if (asleep) wake_.notify_all();
    drain(0);
    // Workers that are still on their way need not come: all tasks are taken. Those that came must have left before the
    // closure goes out of scope.
    open_.store(false);
    const auto done = [this] { return active_.load() == 0; };
    while (!spin_until(done, kSpin)) std::this_thread::yield();
}

}  // namespace qwill
