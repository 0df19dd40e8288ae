// Packed weights and argument structs of everything that multiplies by them.
#pragma once

namespace qwill {

struct LinearKernels {};

}  // namespace qwill
