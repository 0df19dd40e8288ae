// What the binding files share: the class that holds kernels and threads, array types, shape checks.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <mutex>
#include <string>

#include "kernels.h"
#include "memory.h"
#include "threads.h"

namespace qwill {

namespace nb = nanobind;

// An array of exactly that type, rank and layout. Unlike its base it is never made by converting another one: what a kernel
// wrote into such a copy would be lost.
template <typename T, int Dims>
struct Array : nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu> {
    using Base = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
    Array() = default;
    explicit Array(Base&& array) : Base(std::move(array)) {}
};

inline void require(bool condition, const char* message) {
    if (!condition) throw nb::value_error(message);
}

template <typename A>
int64_t dim(const A& array, int axis) { return static_cast<int64_t>(array.shape(axis)); }

template <typename A>
bool has_shape(const A& array, std::initializer_list<int64_t> shape) {
    int axis = 0;
    for (const int64_t extent : shape) {
        if (dim(array, axis++) != extent) return false;
    }
    return true;
}

// Kernels of one instruction set on a pool of threads.
struct Cpu {
    Cpu(const std::string& isa, int threads)
        : kernels(kernels_named(isa.c_str())), pool(threads) {
        if (kernels == nullptr) throw nb::value_error("this processor cannot run the instruction set asked for");
    }
    const Kernels* kernels;
    ThreadPool pool;
    Workspace workspace;        // of the projections,
    std::mutex workspace_mutex;  // one call at a time
};

void bind_linear(nb::module_& m, nb::class_<Cpu>& cpu);
void bind_mixers(nb::module_& m, nb::class_<Cpu>& cpu);
void bind_encoders(nb::class_<Cpu>& cpu);
void bind_formats(nb::module_& m);
void bind_text(nb::module_& m);

}  // namespace qwill

template <typename T, int Dims>
struct nanobind::detail::type_caster<qwill::Array<T, Dims>> {
    using Type = qwill::Array<T, Dims>;
    using Base = typename Type::Base;
    NB_TYPE_CASTER(Type, make_caster<Base>::Name)

    bool from_python(handle source, uint8_t flags, cleanup_list* cleanup) noexcept {
        make_caster<Base> caster;
        if (!caster.from_python(source, flags & ~static_cast<uint8_t>(cast_flags::convert), cleanup)) return false;
        value = Type(std::move(caster.value));
        return true;
    }
};
