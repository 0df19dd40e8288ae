// Binding of the block decoders.
#include "formats/decode.h"

#include <memory>

#include "bindings/bindings.h"

namespace qwill {

void bind_formats(nb::module_& m) {
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
