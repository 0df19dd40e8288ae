#include <cstring>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "kernels.h"

namespace qwill {

namespace scalar { const Kernels& kernels(); }
#if defined(__x86_64__)
namespace avx2 { const Kernels& kernels(); }
namespace avx512 { const Kernels& kernels(); }
namespace avx512_bf16 { const Kernels& kernels(); }
#elif defined(__aarch64__)
namespace neon { const Kernels& kernels(); }
#endif

namespace {

struct Candidate {
    const char* name;
    const Kernels& (*kernels)();
    bool (*runs_here)();
};

#if defined(__x86_64__)
// GCC's check covers the operating system's saving of the wide registers as well as CPUID.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#elif defined(__aarch64__)
bool has_dot_product() {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return true;  // every Apple processor that runs macOS
#endif
}
#endif

constexpr Candidate kCandidates[] = {
    {"scalar", scalar::kernels, [] { return true; }},
#if defined(__x86_64__)
    {"avx2", avx2::kernels, has_avx2},
    {"avx512", avx512::kernels, has_avx512},
    {"avx512_bf16", avx512_bf16::kernels, has_avx512_bf16},
#elif defined(__aarch64__)
    {"neon", neon::kernels, has_dot_product},
#endif
};
constexpr int kCount = sizeof(kCandidates) / sizeof(kCandidates[0]);

}  // namespace

const Kernels* kernels_named(const char* name) {
    for (const Candidate& candidate : kCandidates) {
        if (std::strcmp(candidate.name, name) == 0) return candidate.runs_here() ? &candidate.kernels() : nullptr;
    }
    return nullptr;
}

const char* const* available_isas() {
    static const char* names[kCount + 1] = {};
    int count = 0;
    for (const Candidate& candidate : kCandidates) {
        if (candidate.runs_here()) names[count++] = candidate.name;
    }
    return names;
}

const char* const* compiled_isas() {
    static const char* names[kCount + 1] = {};
    for (int index = 0; index < kCount; ++index) names[index] = kCandidates[index].name;
    return names;
}

}  // namespace qwill
