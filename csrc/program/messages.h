// Calls of kernels as bytes, and what comes of them. Numbers are little-endian.
//
//   call      string (the function), u32 (arguments), arguments
//   argument  u8 'i', int64 | u8 'f', float64 | u8 's', string | u8 'n' (none) |
//             u8 'a' (read) or 'w' (read and written), u32 (dimensions), int64 each, u64 (bytes), bytes
//   answer    u32 (arrays), and for each: u64 (bytes), bytes: those passed as 'w' in their order, then what is returned
//   string    u32 (bytes), bytes
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "memory.h"

namespace qwill {

struct Argument {
    char kind;
    int64_t whole = 0;
    double real = 0;
    std::string text;
    std::vector<int64_t> shape;
    AlignedBuffer bytes;

    template <typename T>
    T* data() const { return kind == 'n' ? nullptr : reinterpret_cast<T*>(bytes.data()); }
};

struct Call {
    std::string function;
    std::vector<Argument> arguments;
};

inline void read_bytes(std::FILE* in, void* out, size_t size) {
    if (size != 0 && std::fread(out, 1, size, in) != size) throw std::runtime_error("the call ends early");
}

template <typename T>
T read(std::FILE* in) {
    T value;
    read_bytes(in, &value, sizeof value);
    return value;
}

inline std::string read_string(std::FILE* in) {
    std::string text(read<uint32_t>(in), '\0');
    read_bytes(in, text.data(), text.size());
    return text;
}

inline Argument read_argument(std::FILE* in) {
    Argument argument;
    argument.kind = static_cast<char>(read<uint8_t>(in));
    switch (argument.kind) {
        case 'i': argument.whole = read<int64_t>(in); break;
        case 'f': argument.real = read<double>(in); break;
        case 's': argument.text = read_string(in); break;
        case 'n': break;
        case 'a':
        case 'w':
            argument.shape.resize(read<uint32_t>(in));
            for (int64_t& extent : argument.shape) extent = read<int64_t>(in);
            argument.bytes = AlignedBuffer(static_cast<int64_t>(read<uint64_t>(in)));
            read_bytes(in, argument.bytes.data(), static_cast<size_t>(argument.bytes.size()));
            break;
        default: throw std::runtime_error("an argument of an unknown kind");
    }
    return argument;
}

// Whether there was another call.
inline bool read_call(std::FILE* in, Call& call) {
    const int first = std::fgetc(in);
    if (first == EOF) return false;
    std::ungetc(first, in);
    call.function = read_string(in);
    call.arguments.clear();
    const auto count = read<uint32_t>(in);
    for (uint32_t i = 0; i < count; ++i) call.arguments.push_back(read_argument(in));
    return true;
}

inline void write_answer(std::FILE* out, const Call& call, const std::vector<AlignedBuffer>& returned) {
    std::vector<const AlignedBuffer*> arrays;
    for (const Argument& argument : call.arguments) {
        if (argument.kind == 'w') arrays.push_back(&argument.bytes);
    }
    for (const AlignedBuffer& each : returned) arrays.push_back(&each);
    const auto count = static_cast<uint32_t>(arrays.size());
    std::fwrite(&count, sizeof count, 1, out);
    for (const AlignedBuffer* each : arrays) {
        const auto size = static_cast<uint64_t>(each->size());
        std::fwrite(&size, sizeof size, 1, out);
        std::fwrite(each->data(), 1, static_cast<size_t>(size), out);
    }
    if (std::fflush(out) != 0) throw std::runtime_error("the answer cannot be written");
}

}  // namespace qwill
