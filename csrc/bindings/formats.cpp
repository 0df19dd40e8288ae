// Bindings of the block decoders, and of the strings of a GGUF file.
#include "formats/decode.h"

#include <memory>

#include "bindings/strings.h"

namespace qwill {

namespace {

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

// What is no UTF-8 is replaced.
nb::list read_strings(const Bytes& data, int64_t start, const Ends& ends) {
    nb::list strings;
    each_string(data, start, ends, [&](int64_t, std::string_view text) {
        PyObject* string = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
        if (string == nullptr) throw nb::python_error();
        strings.append(nb::steal(string));
    });
    return strings;
}

}  // namespace

void bind_formats(nb::module_& m) {
    m.def("string_ends", string_ends, nb::arg("data"), nb::arg("start"), nb::arg("count"));
    m.def("read_strings", read_strings, nb::arg("data"), nb::arg("start"), nb::arg("ends"));
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
