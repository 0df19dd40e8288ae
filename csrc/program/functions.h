// The functions that the program calls, by the names and with the arguments that the bindings have.
#pragma once

#include <vector>

#include "kernels.h"
#include "memory.h"
#include "program/messages.h"
#include "threads.h"

namespace qwill {

// Runs a call, whose first two arguments are the instruction set and the threads; what it returns.
// Throws std::runtime_error when there is no such function or instruction set.
std::vector<AlignedBuffer> run(Call& call);

}  // namespace qwill
