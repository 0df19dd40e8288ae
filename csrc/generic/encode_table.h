// The encoders' part of the operation table. An instruction set that has nothing to add to another's names it in
// QWILL_ENCODERS_OF and takes that one's.
#pragma once

#include "kernels.h"

#if !defined(QWILL_ENCODERS_OF)

#include "encode/fp8.h"
#include "encode/rows.h"

namespace qwill { namespace QWILL_ISA_NS {

inline EncodeKernels encode_kernels() { return {encode::block_elements, encode::encode, encode::encode_fp8, encode::is_finite}; }

}}  // namespace qwill::QWILL_ISA_NS

#else

namespace qwill { namespace QWILL_ENCODERS_OF { const Kernels& kernels(); }}

namespace qwill { namespace QWILL_ISA_NS {

inline EncodeKernels encode_kernels() { return QWILL_ENCODERS_OF::kernels().encoders; }

}}  // namespace qwill::QWILL_ISA_NS

#endif
