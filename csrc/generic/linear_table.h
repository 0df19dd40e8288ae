// The projections' part of the operation table.
#pragma once

#include "generic/linear/dots.h"
#include "generic/linear/embedding.h"
#include "generic/linear/experts.h"
#include "generic/linear/low_rank.h"
#include "generic/linear/moe.h"
#include "generic/linear/project.h"
#include "generic/linear/silu_product.h"
#include "generic/linear/types.h"
#include "linear.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr LinearKernels kLinearKernels{pack, linear, swiglu, moe, low_rank, silu_product, embedding, dots};

}}  // namespace qwill::QWILL_ISA_NS
