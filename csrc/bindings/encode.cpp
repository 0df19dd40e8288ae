// Bindings of the encoders.
#include <nanobind/stl/optional.h>

#include <memory>
#include <optional>

#include "bindings/bindings.h"
#include "formats/decode.h"

namespace qwill {

namespace {

using Floats1 = Array<const float, 1>;
using Floats2 = Array<const float, 2>;

template <typename T>
auto matrix(std::unique_ptr<T[]> values, int64_t rows, int64_t columns) {
    T* data = values.release();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return nb::ndarray<nb::numpy, T, nb::ndim<2>>(data, {static_cast<size_t>(rows), static_cast<size_t>(columns)}, owner);
}

template <typename T>
std::unique_ptr<T[]> uninitialised(int64_t count) { return std::unique_ptr<T[]>(new T[static_cast<size_t>(count)]); }

auto encode(Cpu& self, int type_id, const Floats2& values, const std::optional<Floats1>& importance) {
    const int64_t rows = dim(values, 0), columns = dim(values, 1), elements = self.kernels->encoders.block_elements(type_id);
    require(elements > 0, "encode: there is no encoder for this tensor type");
    require(columns % elements == 0, "encode: the rows are not whole blocks");
    require(!importance || has_shape(*importance, {columns}), "encode: the importance has another length than the rows");
    const int64_t row_bytes = columns / elements * scalar::formats::codec(type_id).block_bytes;
    auto out = uninitialised<uint8_t>(rows * row_bytes);
    const EncodeArgs args{type_id, values.data(), rows, columns, importance ? importance->data() : nullptr, out.get()};
    {
        nb::gil_scoped_release unlocked;
        self.kernels->encoders.encode(args, self.pool);
    }
    return matrix(std::move(out), rows, row_bytes);
}

nb::tuple encode_fp8(Cpu& self, const Floats2& values) {
    const int64_t rows = dim(values, 0), columns = dim(values, 1);
    const int64_t down = (rows + 127) / 128, across = (columns + 127) / 128;
    auto out = uninitialised<uint8_t>(rows * columns);
    auto scales = uninitialised<float>(down * across);
    {
        nb::gil_scoped_release unlocked;
        self.kernels->encoders.encode_fp8({values.data(), rows, columns, out.get(), scales.get()}, self.pool);
    }
    return nb::make_tuple(matrix(std::move(out), rows, columns), matrix(std::move(scales), down, across));
}

bool is_finite(Cpu& self, const Floats2& values) {
    nb::gil_scoped_release unlocked;
    return self.kernels->encoders.is_finite(values.data(), static_cast<int64_t>(values.size()), self.pool);
}

}  // namespace

void bind_encoders(nb::class_<Cpu>& cpu) {
    cpu.def("encode", encode, nb::arg("type_id"), nb::arg("values"), nb::arg("importance").none(),
            "float32 [rows, columns] to stored rows, uint8 [rows, row bytes]; the importance of columns is float32 [columns].")
        .def("can_encode", [](const Cpu& self, int type_id) { return self.kernels->encoders.block_elements(type_id) > 0; },
             nb::arg("type_id"), "Whether there is an encoder for a tensor type.")
        .def("encode_fp8", encode_fp8, nb::arg("values"), "float32 to E4M3 bytes and the float32 scales of 128 x 128 blocks.")
        .def("is_finite", is_finite, nb::arg("values"), "Whether no value is NaN or infinite.");
}

}  // namespace qwill
