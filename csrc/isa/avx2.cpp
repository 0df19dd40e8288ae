#define QWILL_ISA_NS avx2
#include "isa/avx2.h"
#include "generic/table.h"
