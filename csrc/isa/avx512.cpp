#define QWILL_ISA_NS avx512
#include "isa/avx512.h"
#include "generic/table.h"
