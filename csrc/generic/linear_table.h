// The projections' part of the operation table.
#pragma once

#include "linear.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr LinearKernels kLinearKernels{};

}}  // namespace qwill::QWILL_ISA_NS
