// A pool of worker threads for the kernels: one job at a time, split into numbered tasks.
//
// A task computes whole outputs, so which thread runs it never changes a result. Each thread begins with a share of tasks in a
// row, which mostly read memory in a row, and then helps the others. Workers spin for a short while after a job, because the
// next one follows within microseconds while tokens are decoded, then sleep until they are woken.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace qwill {

class ThreadPool {
public:
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // Calls task(index, thread) for every index in [0, tasks), the caller being thread 0. Returns when all are done.
    // Not to be called from within a task.
    template <typename Task>
    void run(int64_t tasks, const Task& task) {
        if (tasks <= 0) return;
        if (workers_.empty() || tasks == 1) {
            for (int64_t i = 0; i < tasks; ++i) task(i, 0);
            return;
        }
        dispatch(tasks, [](const void* context, int64_t index, int thread) {
            (*static_cast<const Task*>(context))(index, thread);
        }, &task);
    }

private:
    using Entry = void (*)(const void*, int64_t, int);
    void dispatch(int64_t tasks, Entry entry, const void* context);
    void work(int thread);
    void drain(int thread);

    // Tasks that a thread takes before those of others; in a cache line of its own.
    struct alignas(64) Share {
        std::atomic<int64_t> next{0};
        int64_t end = 0;
    };

    std::vector<std::thread> workers_;
    std::mutex job_mutex_;  // one job at a time, whichever Python thread asks
    std::mutex sleep_mutex_;
    std::condition_variable wake_;
    int sleeping_ = 0;

    // The current job; written before `generation_` is published.
    Entry entry_ = nullptr;
    const void* context_ = nullptr;
    std::unique_ptr<Share[]> shares_;  // one for each thread
    std::atomic<int> active_{0};     // workers inside the job
    std::atomic<bool> open_{false};  // whether workers may still enter it
    std::atomic<uint64_t> generation_{0};
    std::atomic<bool> stop_{false};
};

}  // namespace qwill
