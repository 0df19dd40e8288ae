#include <cstring>

#include "kernels.h"
#include "system/processor.h"

namespace qwill {

namespace scalar { const Kernels& kernels(); }
#if defined(__x86_64__)
namespace avx2 { const Kernels& kernels(); }
namespace avx512 { const Kernels& kernels(); }
namespace avx512_bf16 { const Kernels& kernels(); }
#elif defined(__aarch64__)
namespace neon { const Kernels& kernels(); }
namespace neon_i8mm { const Kernels& kernels(); }
#endif

namespace {

struct Candidate {
    const char* name;
    const Kernels& (*kernels)();
    bool (*runs_here)();
};

constexpr Candidate kCandidates[] = {
    {"scalar", scalar::kernels, [] { return true; }},
#if defined(__x86_64__)
    {"avx2", avx2::kernels, has_avx2},
    {"avx512", avx512::kernels, has_avx512},
    {"avx512_bf16", avx512_bf16::kernels, has_avx512_bf16},
#elif defined(__aarch64__)
    {"neon", neon::kernels, has_dot_product},
    {"neon_i8mm", neon_i8mm::kernels, has_int8_matrix_product},
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
