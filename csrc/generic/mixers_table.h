// The norms' and mixers' part of the operation table.
#pragma once

#include "generic/rms_norm.h"
#include "mixers.h"

namespace qwill { namespace QWILL_ISA_NS {

constexpr MixerKernels kMixerKernels{rms_norm};

}}  // namespace qwill::QWILL_ISA_NS
