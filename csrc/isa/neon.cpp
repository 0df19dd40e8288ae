#define QWILL_ISA_NS neon
#include "isa/neon.h"
#include "generic/table.h"
