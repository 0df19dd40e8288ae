// Argument structs and the table of the encoders. Arrays are row-major and contiguous.
#pragma once

#include <cstdint>

namespace qwill {

class ThreadPool;

struct EncodeArgs {
    int type;             // formats::TensorTypeId
    const float* values;  // [rows, columns], columns being whole blocks
    int64_t rows, columns;
    const float* importance;  // [columns], finite and not negative, or null
    uint8_t* out;             // rows of blocks
};

struct Fp8Args {
    const float* values;  // [rows, columns]
    int64_t rows, columns;
    uint8_t* out;   // [rows, columns]
    float* scales;  // [ceil(rows / 128), ceil(columns / 128)]
};

struct EncodeKernels {
    // Elements of a block; 0 for a type that nothing encodes to.
    int64_t (*block_elements)(int type);
    void (*encode)(const EncodeArgs&, ThreadPool&);
    void (*encode_fp8)(const Fp8Args&, ThreadPool&);
    bool (*is_finite)(const float* values, int64_t count, ThreadPool&);
};

}  // namespace qwill
