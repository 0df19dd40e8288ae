// The operation table: one function pointer per kernel.
//
// Every instruction set fills a table with the same kernels (csrc/generic, csrc/encode) compiled over its own vector type.
// Argument structs are in linear.h, mixers.h and encoders.h. Shapes are checked in bindings/; kernels only compute.
#pragma once

#include "encoders.h"
#include "linear.h"
#include "mixers.h"

namespace qwill {

struct Kernels {
    const char* name;
    LinearKernels linear;
    MixerKernels mixers;
    EncodeKernels encoders;
};

// The table of an instruction set by name ("scalar", "avx2", "avx512", "avx512_bf16", "neon"), or nullptr when the processor lacks it.
const Kernels* kernels_named(const char* name);

// Names of the tables that this processor can run, slowest first, ended by nullptr.
const char* const* available_isas();

// Names of all tables that were compiled, ended by nullptr.
const char* const* compiled_isas();

}  // namespace qwill
