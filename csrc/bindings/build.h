// How this module was compiled, for reports: what `qwill doctor` shows.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdlib>  // on glibc, tells its version
#include <string>

#include "kernels.h"

namespace qwill {

inline std::string version_text(int major, int minor, int patch) {
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

inline std::string compiler() {
#if defined(QWILL_ZIG_VERSION)  // clang with the headers and libraries of zig
    const std::string with = std::string(" (zig ") + QWILL_ZIG_VERSION + ")";
#else
    const std::string with;
#endif
#if defined(__apple_build_version__)
    return "Apple clang " + version_text(__clang_major__, __clang_minor__, __clang_patchlevel__) + with;
#elif defined(__clang__)
    return "clang " + version_text(__clang_major__, __clang_minor__, __clang_patchlevel__) + with;
#else
    return "GCC " + version_text(__GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__) + with;
#endif
}

// compiler; target: the processor's family; c_library: what it was linked with; stable_abi: one module for many Pythons;
// isas: instruction sets that kernels were compiled for, slowest first.
inline nanobind::dict build() {
    nanobind::dict told;
    told["compiler"] = compiler();
#if defined(__x86_64__)
    told["target"] = "x86_64";
#elif defined(__aarch64__)
    told["target"] = "aarch64";
#else
    told["target"] = "another";
#endif
#if defined(__GLIBC__)
    told["c_library"] = "glibc " + std::to_string(__GLIBC__) + "." + std::to_string(__GLIBC_MINOR__);
#elif defined(__APPLE__)
    told["c_library"] = "macOS";
#elif defined(_WIN32)
    told["c_library"] = "Windows";
#else
    told["c_library"] = "another";
#endif
#if defined(Py_LIMITED_API)
    told["stable_abi"] = true;
#else
    told["stable_abi"] = false;
#endif
    nanobind::list isas;
    for (const char* const* name = compiled_isas(); *name != nullptr; ++name) isas.append(*name);
    told["isas"] = isas;
    return told;
}

}  // namespace qwill
