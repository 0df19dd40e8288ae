// Bindings of norms and token mixers.
#include "bindings/bindings.h"

namespace qwill {

void bind_mixers(nb::module_&, nb::class_<Cpu>& cpu) {
    cpu.def("rms_norm", [](Cpu& self, const Array<const float, 2>& x, const Array<const float, 1>& weight, float eps,
                           const Array<float, 2>& out) {
        require(has_shape(weight, {dim(x, 1)}) && has_shape(out, {dim(x, 0), dim(x, 1)}),
                "rms_norm: x, weight and out differ in shape");
        const RmsNormArgs args{x.data(), weight.data(), out.data(), dim(x, 0), dim(x, 1), eps};
        nb::gil_scoped_release unlocked;
        self.kernels->mixers.rms_norm(args, self.pool);
    }, nb::arg("x"), nb::arg("weight"), nb::arg("eps"), nb::arg("out"));
}

}  // namespace qwill
