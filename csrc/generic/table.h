// The operation table of one instruction set. Included by each file in isa/ after its vector types, with QWILL_ISA_NS
// naming its namespace; every header included here puts its code into that namespace too.
#include "generic/encode_table.h"
#include "generic/linear_table.h"
#include "generic/mixers_table.h"
#include "kernels.h"

#define QWILL_STRING_(x) #x
#define QWILL_STRING(x) QWILL_STRING_(x)

namespace qwill { namespace QWILL_ISA_NS {

const Kernels& kernels() {
    static const Kernels table = {QWILL_STRING(QWILL_ISA_NS), kLinearKernels, kMixerKernels, encode_kernels()};
    return table;
}

}}  // namespace qwill::QWILL_ISA_NS
