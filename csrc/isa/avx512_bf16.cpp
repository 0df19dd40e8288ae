#define QWILL_ISA_NS avx512_bf16
#include "isa/avx512.h"
#include "generic/table.h"
