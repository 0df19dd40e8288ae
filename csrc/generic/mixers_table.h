// The norms' and mixers' part of the operation table.
#pragma once

#include "generic/attention.h"
#include "generic/gated_delta.h"
#include "generic/layer_norm.h"
#include "generic/rms_norm.h"
#include "generic/vision_attention.h"
#include "mixers.h"

namespace qwill { namespace QWILL_ISA_NS {

inline void exp_array(const float* x, float* out, int64_t n) { map(x, out, n, [](F32x16 a) { return exp(a); }); }
inline void softplus_array(const float* x, float* out, int64_t n) { map(x, out, n, [](F32x16 a) { return softplus(a); }); }

constexpr MixerKernels kMixerKernels{rms_norm, layer_norm, gated_delta, attention, vision_attention, exp_array, softplus_array};

}}  // namespace qwill::QWILL_ISA_NS
