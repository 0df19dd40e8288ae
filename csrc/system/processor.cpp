#include "system/processor.h"

#if defined(__x86_64__)

#include <cpuid.h>

#include <cstdint>

namespace qwill {

namespace {

// CPUID is asked here: what __builtin_cpu_supports reads is never filled in by zig's runtime library, so that it denies
// everything. Bits: Intel's Software Developer's Manual, volume 2A, CPUID, and volume 1, 13.3 (XCR0).
struct Features {
    bool avx2 = false, avx512 = false, avx512_bf16 = false;
};

bool has(uint32_t bits, int bit) { return ((bits >> bit) & 1) != 0; }

// Registers that the operating system saves when it switches threads.
uint64_t saved_registers() {
    uint32_t low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return uint64_t{high} << 32 | low;
}

Features read_features() {
    uint32_t a = 0, b = 0, c = 0, d = 0;
    Features features;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
    const bool os_saves = has(c, 27), avx = has(c, 28), fma = has(c, 12), f16c = has(c, 29);
    if (!os_saves || !avx || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return features;
    constexpr uint64_t ymm = 0x6, zmm = 0xe6;
    const uint64_t saved = saved_registers();
#if defined(__APPLE__)
    const bool zmm_saved = true;  // macOS adds them to XCR0 when a thread first uses them
#else
    const bool zmm_saved = (saved & zmm) == zmm;
#endif
    features.avx2 = (saved & ymm) == ymm && fma && f16c && has(b, 5);
    const bool foundation = has(b, 16), dq = has(b, 17), bw = has(b, 30), vl = has(b, 31), vnni = has(c, 11);
    features.avx512 = features.avx2 && zmm_saved && foundation && dq && bw && vl && vnni;
    if (features.avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) features.avx512_bf16 = has(a, 5);
    return features;
}

const Features& features() {
    static const Features found = read_features();
    return found;
}

}  // namespace

bool has_avx2() { return features().avx2; }
bool has_avx512() { return features().avx512; }
bool has_avx512_bf16() { return features().avx512_bf16; }

}  // namespace qwill

#elif defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace qwill {

#if defined(__linux__)
// Bits of the auxiliary vector: Linux, Documentation/arch/arm64/elf_hwcaps.rst. Older C libraries do not name the second.
bool has_dot_product() { return (getauxval(AT_HWCAP) >> 20 & 1) != 0; }
bool has_int8_matrix_product() { return (getauxval(AT_HWCAP2) >> 13 & 1) != 0; }
#elif defined(__APPLE__)
namespace {

bool has(const char* feature) {
    int value = 0;
    size_t size = sizeof(value);
    return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}

}  // namespace

bool has_dot_product() { return true; }  // every Apple processor that runs macOS; older systems do not name it
bool has_int8_matrix_product() { return has("hw.optional.arm.FEAT_I8MM"); }
#else
bool has_dot_product() { return false; }
bool has_int8_matrix_product() { return false; }
#endif

}  // namespace qwill

#endif
