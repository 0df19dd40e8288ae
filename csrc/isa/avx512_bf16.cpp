#define QWILL_ISA_NS avx512_bf16
#define QWILL_ENCODERS_OF avx512
#include "isa/avx512.h"
#include "generic/table.h"
