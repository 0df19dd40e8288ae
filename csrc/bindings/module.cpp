// The module qwill._native. This folder is the only one that knows Python: it checks types and shapes, releases the GIL
// and calls the kernels.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <vector>

#include "bindings/bindings.h"
#include "bindings/build.h"

NB_MODULE(_native, m) {
    using namespace qwill;
    m.doc() = "CPU kernels of qwill.";
    // An interpreter that ends in the middle of an answer leaves objects behind; users need not read about them.
    nb::set_leak_warnings(false);
    m.def("available_isas", [] {
        std::vector<std::string> names;
        for (const char* const* name = available_isas(); *name != nullptr; ++name) names.emplace_back(*name);
        return names;
    }, "Instruction sets that this processor can run, slowest first.");
    m.attr("build") = build();
    nb::class_<Cpu> cpu(m, "Cpu");
    cpu.def("__init__", [](Cpu* self, const std::string& isa, int threads) {
            require(threads >= 1, "threads must be at least 1");
            new (self) Cpu(isa, threads);
        }, nb::arg("isa"), nb::arg("threads"), "isa: one of available_isas().")
        .def_prop_ro("isa", [](const Cpu& self) { return std::string(self.kernels->name); })
        .def_prop_ro("threads", [](const Cpu& self) { return self.pool.threads(); });
    bind_linear(m, cpu);
    bind_mixers(m, cpu);
    bind_encoders(cpu);
    bind_formats(m);
    bind_text(m);
}
