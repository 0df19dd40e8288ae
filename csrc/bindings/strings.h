// The strings of a GGUF file as they lie there: a length in eight bytes, then the bytes.
#pragma once

#include <cstring>
#include <string_view>

#include "bindings/bindings.h"

namespace qwill {

using Bytes = Array<const uint8_t, 1>;
using Ends = Array<const int64_t, 1>;  // where each string ends

inline uint64_t length_at(const uint8_t* p) {
    uint64_t length;
    std::memcpy(&length, p, sizeof length);  // little-endian, as every processor that has kernels
    return length;
}

// Calls each(index, text) for the strings, the first of which begins at `start`. Needs no GIL.
template <typename Each>
void each_string(const Bytes& data, int64_t start, const Ends& ends, const Each& each) {
    int64_t begin = start;
    for (int64_t i = 0; i < dim(ends, 0); ++i) {
        const int64_t end = ends.data()[i];
        require(begin >= 0 && end >= begin + 8 && end <= dim(data, 0), "these are no ends of strings");
        each(i, std::string_view(reinterpret_cast<const char*>(data.data() + begin + 8), static_cast<size_t>(end - begin - 8)));
        begin = end;
    }
}

}  // namespace qwill
