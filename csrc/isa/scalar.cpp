#define QWILL_ISA_NS scalar
#include "isa/scalar.h"
#include "generic/table.h"
