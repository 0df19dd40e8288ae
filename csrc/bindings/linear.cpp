// Bindings of the projections.
#include "bindings/bindings.h"

namespace qwill {

void bind_linear(nb::module_&, nb::class_<Cpu>&) {}

}  // namespace qwill
