// Bindings of the block decoders, and of the strings of a GGUF file: a vocabulary and its merges are half a million.
#include "formats/decode.h"

#include <cstring>
#include <memory>

#include "bindings/bindings.h"

namespace qwill {

namespace {

using Bytes = Array<const uint8_t, 1>;

uint64_t length_at(const uint8_t* p) {
    uint64_t length;
    std::memcpy(&length, p, sizeof length);  // little-endian, as every processor that has kernels
    return length;
}

// Where each of `count` strings (a length in eight bytes, then the bytes) ends, the first starting at `start`; None when the
// data end before.
nb::object string_ends(const Bytes& data, int64_t start, int64_t count) {
    const int64_t size = dim(data, 0);
    require(start >= 0 && start <= size && count >= 0, "string_ends: the start lies outside the data");
    auto ends = std::make_unique<int64_t[]>(static_cast<size_t>(count));
    int64_t position = start;
    for (int64_t i = 0; i < count; ++i) {
        if (size - position < 8) return nb::none();
        const uint64_t length = length_at(data.data() + position);
        if (length > static_cast<uint64_t>(size - position - 8)) return nb::none();
        ends[static_cast<size_t>(i)] = position += 8 + static_cast<int64_t>(length);
    }
    int64_t* values = ends.release();
    nb::capsule owner(values, [](void* p) noexcept { delete[] static_cast<int64_t*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, int64_t, nb::ndim<1>>(values, {static_cast<size_t>(count)}, owner));
}

// Calls each(index, text, bytes) for the strings between such positions.
template <typename Each>
void each_string(const Bytes& data, int64_t start, const Array<const int64_t, 1>& ends, const Each& each) {
    int64_t begin = start;
    for (int64_t i = 0; i < dim(ends, 0); ++i) {
        const int64_t end = ends.data()[i];
        require(begin >= 0 && end >= begin + 8 && end <= dim(data, 0), "these are no ends of strings");
        each(i, reinterpret_cast<const char*>(data.data() + begin + 8), static_cast<Py_ssize_t>(end - begin - 8));
        begin = end;
    }
}

// What is no UTF-8 is replaced.
nb::object python_string(const char* text, Py_ssize_t bytes) {
    PyObject* string = PyUnicode_DecodeUTF8(text, bytes, "replace");
    if (string == nullptr) throw nb::python_error();
    return nb::steal(string);
}

nb::list read_strings(const Bytes& data, int64_t start, const Array<const int64_t, 1>& ends) {
    nb::list strings;
    each_string(data, start, ends, [&](int64_t, const char* text, Py_ssize_t bytes) { strings.append(python_string(text, bytes)); });
    return strings;
}

// The places of those strings that are to be kept; of equal ones the last.
nb::dict string_places(const Bytes& data, int64_t start, const Array<const int64_t, 1>& ends, const Array<const bool, 1>& kept) {
    require(dim(kept, 0) == dim(ends, 0), "string_places: one mark for each string");
    nb::dict places;
    each_string(data, start, ends, [&](int64_t i, const char* text, Py_ssize_t bytes) {
        if (kept.data()[i]) places[python_string(text, bytes)] = i;
    });
    return places;
}

// Strings of two words as tuples; None when one has not exactly one space.
nb::object string_pairs(const Bytes& data, int64_t start, const Array<const int64_t, 1>& ends) {
    nb::list pairs;
    bool good = true;
    each_string(data, start, ends, [&](int64_t, const char* text, Py_ssize_t bytes) {
        const auto* space = static_cast<const char*>(std::memchr(text, ' ', static_cast<size_t>(bytes)));
        good = good && space != nullptr && std::memchr(space + 1, ' ', static_cast<size_t>(text + bytes - space - 1)) == nullptr;
        if (good) pairs.append(nb::make_tuple(python_string(text, space - text), python_string(space + 1, text + bytes - space - 1)));
    });
    return good ? nb::object(std::move(pairs)) : nb::none();
}

}  // namespace

void bind_formats(nb::module_& m) {
    m.def("string_ends", string_ends, nb::arg("data"), nb::arg("start"), nb::arg("count"));
    m.def("read_strings", read_strings, nb::arg("data"), nb::arg("start"), nb::arg("ends"));
    m.def("string_places", string_places, nb::arg("data"), nb::arg("start"), nb::arg("ends"), nb::arg("kept"));
    m.def("string_pairs", string_pairs, nb::arg("data"), nb::arg("start"), nb::arg("ends"));
    m.def("decode", [](int type_id, const Array<const uint8_t, 1>& data, int64_t elements) {
        const auto codec = scalar::formats::codec(type_id);
        require(codec.decode != nullptr, "decode: unknown tensor type");
        require(elements >= 0 && elements % codec.block_elements == 0 &&
                    dim(data, 0) == elements / codec.block_elements * codec.block_bytes,
                "decode: the data is not that many elements of that type");
        auto out = std::make_unique<float[]>(static_cast<size_t>(elements));
        codec.decode(data.data(), elements, out.get());
        float* values = out.release();
        nb::capsule owner(values, [](void* p) noexcept { delete[] static_cast<float*>(p); });
        return nb::ndarray<nb::numpy, float, nb::ndim<1>>(values, {static_cast<size_t>(elements)}, owner);
    }, nb::arg("type_id"), nb::arg("data"), nb::arg("elements"), "Blocks of a tensor type to float32.");
}

}  // namespace qwill
