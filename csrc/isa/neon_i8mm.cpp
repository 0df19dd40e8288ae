#define QWILL_ISA_NS neon_i8mm
#define QWILL_ENCODERS_OF neon
#include "isa/neon_i8mm.h"
#include "generic/table.h"
