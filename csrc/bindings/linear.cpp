// Bindings of the projections.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "bindings/bindings.h"

namespace qwill {

namespace {

using Floats1 = Array<const float, 1>;
using Floats2 = Array<const float, 2>;
using Output2 = Array<float, 2>;
using Bytes = Array<const uint8_t, 1>;

// A weight as Python sees it: planned first, then packed with others.
struct PackedWeight {
    Weight weight;
    std::string type;
    PackArgs args;             // emptied by packing
    std::vector<Bytes> parts;  // what `args` points into; kept while it is needed
    bool packed = false;
};

// Runs a kernel with the scratch memory, without the GIL.
template <typename Call>
void with_workspace(Cpu& self, const Call& call) {
    nb::gil_scoped_release unlocked;
    std::lock_guard<std::mutex> lock(self.workspace_mutex);
    call(self.workspace);
}

std::unique_ptr<PackedWeight> plan_weight(const std::string& type, int type_id, std::vector<Bytes> parts, int64_t rows,
                                          int64_t columns, int64_t row_bytes, const std::vector<Floats2>& scales,
                                          const std::vector<Floats1>& row_scales, bool mapped) {
    require(rows >= 1 && columns >= 1 && !parts.empty(), "the weight is empty");
    require(scales.empty() || scales.size() == parts.size(), "a weight has one array of scales for each part");
    require(row_scales.empty() || row_scales.size() == parts.size(), "a weight has one array of row scales for each part");
    auto planned = std::make_unique<PackedWeight>();
    planned->type = type;
    planned->args = {type_id, rows, columns, {}, {}, {}, mapped};
    planned->weight.rows = rows;
    planned->weight.columns = columns;
    planned->weight.experts = static_cast<int64_t>(parts.size());
    for (const Bytes& part : parts) {
        require(dim(part, 0) == rows * row_bytes, "a part of the weight has the wrong size");
        planned->args.parts.push_back(part.data());
    }
    for (const Floats2& part : scales) {
        require(has_shape(part, {(rows + 127) / 128, (columns + 127) / 128}), "the weight's scales have the wrong shape");
        planned->args.scales.insert(planned->args.scales.end(), part.data(), part.data() + part.size());
    }
    for (const Floats1& part : row_scales) {
        require(has_shape(part, {rows}), "the weight's row scales have the wrong shape");
        auto& all = planned->args.row_scales;
        all.insert(all.end(), part.data(), part.data() + rows);
        all.resize(all.size() + static_cast<size_t>(planned->weight.panels() * kPanelRows - rows));
    }
    planned->parts = std::move(parts);
    return planned;
}

// Packs what is planned, all without the GIL: Python has other work meanwhile. Returns the place of the first weight that
// is not finite, or -1.
int64_t pack(Cpu& self, const std::vector<PackedWeight*>& planned) {
    std::vector<PackItem> items;
    for (PackedWeight* each : planned) {
        require(!each->packed, "pack: the weight is packed already");
        items.push_back({each->args, &each->weight});
    }
    int64_t broken;
    {
        nb::gil_scoped_release unlocked;
        broken = self.kernels->linear.pack(items.data(), static_cast<int64_t>(items.size()), self.pool);
    }
    if (broken >= 0) return broken;
    for (PackedWeight* each : planned) {
        each->packed = true;
        if (each->weight.type != each->args.type) each->type = "BF16";  // F16 that was BF16 before
        if (each->weight.panel_bytes != 0) each->parts.clear();
        each->args = {};
    }
    return -1;
}

void require_packed(const PackedWeight& weight) { require(weight.packed, "the weight is not packed yet"); }

// Some rows of a packed matrix as a weight that shares its memory; null where its rows lie in other ways.
std::unique_ptr<PackedWeight> rows_of(const PackedWeight& whole, int64_t first, int64_t count) {
    require_packed(whole);
    const Weight& weight = whole.weight;
    require(weight.experts == 1 && first >= 0 && count >= 1 && first + count <= weight.rows && first % kPanelRows == 0,
            "rows: not a part of the weight that begins with a panel");
    if (weight.panel_bytes == 0 || !weight.scales.empty()) return nullptr;
    auto part = std::make_unique<PackedWeight>();
    part->type = whole.type;
    part->packed = true;
    part->weight.type = weight.type;
    part->weight.rows = count;
    part->weight.columns = weight.columns;
    part->weight.experts = 1;
    part->weight.panel_bytes = weight.panel_bytes;
    part->weight.storage = weight.storage;
    if (!weight.row_scales.empty()) {
        const auto begin = weight.row_scales.begin() + first, end = begin + part->weight.panels() * kPanelRows;
        part->weight.row_scales.assign(begin, end);
    }
    part->weight.parts.push_back(weight.parts[0] + first / kPanelRows * weight.panel_bytes);
    return part;
}

void require_matrix(const PackedWeight& packed, int64_t columns, int64_t rows) {
    require_packed(packed);
    require(packed.weight.experts == 1 && packed.weight.columns == columns && packed.weight.rows == rows,
            "the weight does not fit its input or output");
}

void linear(Cpu& self, const Floats2& x, const PackedWeight& packed, const std::optional<Floats1>& bias, int activation,
            bool add, const Output2& out) {
    require_matrix(packed, dim(x, 1), dim(out, 1));
    require(dim(out, 0) == dim(x, 0), "linear: x and out differ in tokens");
    require(!bias || has_shape(*bias, {dim(out, 1)}), "linear: the bias has the wrong length");
    const Projection projection{&packed.weight, bias ? bias->data() : nullptr, out.data(),
                                static_cast<Activation>(activation), add};
    const LinearArgs args{x.data(), nullptr, 0.0f, dim(x, 0), &projection, 1};
    with_workspace(self, [&](Workspace& workspace) { self.kernels->linear.linear(args, self.pool, workspace); });
}

void norm_linear(Cpu& self, const Floats2& x, const Floats1& scale, float eps,
                 const std::vector<const PackedWeight*>& weights, const std::vector<Output2>& outs) {
    require(!weights.empty() && weights.size() == outs.size(), "norm_linear: one output for each weight");
    require(has_shape(scale, {dim(x, 1)}), "norm_linear: the scale has the wrong length");
    std::vector<Projection> projections;
    for (size_t i = 0; i < weights.size(); ++i) {
        require_matrix(*weights[i], dim(x, 1), dim(outs[i], 1));
        require(dim(outs[i], 0) == dim(x, 0), "norm_linear: x and out differ in tokens");
        projections.push_back({&weights[i]->weight, nullptr, outs[i].data(), Activation::none, false});
    }
    const LinearArgs args{x.data(), scale.data(), eps, dim(x, 0), projections.data(),
                          static_cast<int64_t>(projections.size())};
    with_workspace(self, [&](Workspace& workspace) { self.kernels->linear.linear(args, self.pool, workspace); });
}

Experts checked_experts(const PackedWeight& gate, const PackedWeight& up, const PackedWeight& down, int64_t hidden,
                        int64_t experts) {
    for (const PackedWeight* packed : {&gate, &up, &down}) {
        require_packed(*packed);
        require(packed->weight.experts == experts, "the weights differ in their number of experts");
    }
    require(gate.weight.columns == hidden && up.weight.columns == hidden && up.weight.rows == gate.weight.rows &&
                down.weight.columns == gate.weight.rows && down.weight.rows == hidden,
            "gate, up and down do not fit together");
    return {&gate.weight, &up.weight, &down.weight};
}

void swiglu_add(Cpu& self, const Output2& residual, const Floats1& scale, float eps, const PackedWeight& gate,
                const PackedWeight& up, const PackedWeight& down) {
    require(has_shape(scale, {dim(residual, 1)}), "swiglu_add: the scale has the wrong length");
    const SwigluArgs args{residual.data(), scale.data(), eps, dim(residual, 0),
                          checked_experts(gate, up, down, dim(residual, 1), 1)};
    with_workspace(self, [&](Workspace& workspace) { self.kernels->linear.swiglu(args, self.pool, workspace); });
}

void moe_add(Cpu& self, const Output2& residual, const Floats1& scale, float eps, const PackedWeight& router, int64_t top_k,
             const PackedWeight& gate, const PackedWeight& up, const PackedWeight& down, const std::vector<const PackedWeight*>& shared,
             const std::optional<Floats1>& shared_gate) {
    const int64_t hidden = dim(residual, 1), experts = gate.weight.experts;
    require(has_shape(scale, {hidden}), "moe_add: the scale has the wrong length");
    require_matrix(router, hidden, experts);
    require(top_k >= 1 && top_k <= experts, "moe_add: top_k must be between 1 and the number of experts");
    require(shared.empty() || shared.size() == 3, "moe_add: the shared expert has a gate, an up and a down weight");
    require(!shared_gate || (!shared.empty() && has_shape(*shared_gate, {hidden})),
            "moe_add: the shared gate has the wrong length");
    Experts shared_expert{};
    if (!shared.empty()) shared_expert = checked_experts(*shared[0], *shared[1], *shared[2], hidden, 1);
    const MoeArgs args{residual.data(), scale.data(), eps, dim(residual, 0), &router.weight, top_k,
                       checked_experts(gate, up, down, hidden, experts), shared.empty() ? nullptr : &shared_expert,
                       shared_gate ? shared_gate->data() : nullptr};
    with_workspace(self, [&](Workspace& workspace) { self.kernels->linear.moe(args, self.pool, workspace); });
}

void low_rank(Cpu& self, const Floats2& x, const std::optional<Floats1>& scale, float eps,
              const std::vector<const PackedWeight*>& a, const std::vector<const PackedWeight*>& b,
              const std::vector<Output2>& outs, const std::vector<int64_t>& firsts, const std::vector<int64_t>& lasts,
              const std::vector<float>& scales) {
    const size_t count = a.size();
    require(count > 0 && b.size() == count && outs.size() == count && firsts.size() == count && lasts.size() == count &&
                scales.size() == count,
            "low_rank: as many of each");
    require(!scale || has_shape(*scale, {dim(x, 1)}), "low_rank: the norm's scale has the wrong length");
    std::vector<LowRankPart> parts;
    for (size_t i = 0; i < count; ++i) {
        require_matrix(*b[i], a[i]->weight.rows, dim(outs[i], 1));
        require_matrix(*a[i], dim(x, 1), a[i]->weight.rows);
        require(a[i]->type == "F32" && b[i]->type == "F32", "low_rank: the matrices are F32");
        require(dim(outs[i], 0) == dim(x, 0) && firsts[i] >= 0 && firsts[i] < lasts[i] && lasts[i] <= dim(x, 0),
                "low_rank: rows that are none");
        parts.push_back({&a[i]->weight, &b[i]->weight, scales[i], firsts[i], lasts[i], outs[i].data()});
    }
    const LowRankArgs args{x.data(), scale ? scale->data() : nullptr, eps, parts.data(), static_cast<int64_t>(count)};
    with_workspace(self, [&](Workspace& workspace) { self.kernels->linear.low_rank(args, self.pool, workspace); });
}

void silu_product(Cpu& self, const Output2& gate, const Floats2& up) {
    require(has_shape(up, {dim(gate, 0), dim(gate, 1)}), "silu_product: gate and up differ in shape");
    const SiluProductArgs args{gate.data(), up.data(), dim(gate, 0), dim(gate, 1)};
    nb::gil_scoped_release unlocked;
    self.kernels->linear.silu_product(args, self.pool);
}

// One expert's matrix as a weight that shares the memory of all.
std::unique_ptr<PackedWeight> expert_of(const PackedWeight& all, int64_t number) {
    require_packed(all);
    const Weight& weight = all.weight;
    require(number >= 0 && number < weight.experts, "expert: no such expert");
    auto expert = std::make_unique<PackedWeight>();
    expert->type = all.type;
    expert->packed = true;
    Weight& own = expert->weight;
    own = {weight.type, weight.rows, weight.columns, 1, weight.panel_bytes, {weight.parts[static_cast<size_t>(number)]},
           {}, {}, weight.storage};
    const auto share = [&](const std::vector<float>& scales, std::vector<float>& out) {
        const auto size = static_cast<int64_t>(scales.size()) / weight.experts;
        out.assign(scales.begin() + number * size, scales.begin() + (number + 1) * size);
    };
    share(weight.scales, own.scales);
    share(weight.row_scales, own.row_scales);
    return expert;
}

void embedding(Cpu& self, int type_id, const Bytes& table, int64_t rows, int64_t row_bytes, const Array<const int32_t, 1>& ids,
               const Output2& out) {
    require(dim(table, 0) == rows * row_bytes, "embedding: the table has the wrong size");
    require(dim(out, 0) == dim(ids, 0), "embedding: ids and out differ in tokens");
    require(std::all_of(ids.data(), ids.data() + dim(ids, 0), [&](int32_t id) { return id >= 0 && id < rows; }),
            "embedding: an id is out of range");
    const EmbeddingArgs args{type_id, table.data(), dim(out, 1), ids.data(), dim(ids, 0), out.data()};
    nb::gil_scoped_release unlocked;
    self.kernels->linear.embedding(args, self.pool);
}

}  // namespace

void bind_linear(nb::module_& m, nb::class_<Cpu>& cpu) {
    nb::class_<PackedWeight>(m, "Weight", "A matrix, or one for each expert, packed for the kernels.")
        .def_prop_ro("rows", [](const PackedWeight& self) { return self.weight.rows; })
        .def_prop_ro("cols", [](const PackedWeight& self) { return self.weight.columns; })
        .def_prop_ro("experts", [](const PackedWeight& self) { return self.weight.experts; })
        .def_prop_ro("type", [](const PackedWeight& self) { return self.type; })
        .def_prop_ro("nbytes", [](const PackedWeight& self) { return self.weight.packed_bytes(); },
                     "Bytes of memory of its own; 0 when it reads the file's blocks.")
        .def("part", rows_of, nb::arg("first"), nb::arg("count"), nb::keep_alive<0, 1>(),
             "Some of its rows, from a multiple of 16 on, sharing its memory; None where it is not packed in panels.")
        .def("expert", expert_of, nb::arg("number"), nb::keep_alive<0, 1>(), "The matrix of one expert, sharing its memory.");
    m.def("plan_weight", plan_weight);
    cpu.def("pack", pack)
        .def("linear", linear, nb::arg("x"), nb::arg("weight"), nb::arg("bias").none(), nb::arg("activation"), nb::arg("add"),
             nb::arg("out"))
        .def("norm_linear", norm_linear)
        .def("swiglu_add", swiglu_add)
        .def("moe_add", moe_add, nb::arg("residual"), nb::arg("scale"), nb::arg("eps"), nb::arg("router"), nb::arg("top_k"),
             nb::arg("gate"), nb::arg("up"), nb::arg("down"), nb::arg("shared"), nb::arg("shared_gate").none())
        .def("low_rank", low_rank, nb::arg("x"), nb::arg("scale").none(), nb::arg("eps"), nb::arg("a"), nb::arg("b"),
             nb::arg("outs"), nb::arg("firsts"), nb::arg("lasts"), nb::arg("scales"))
        .def("silu_product", silu_product)
        .def("embedding", embedding)
        .def("dots", [](Cpu& self, int64_t rounds) {
            nb::gil_scoped_release unlocked;
            return self.kernels->linear.dots(rounds, self.pool);
        }, "Computes dot products in registers; returns the number of operations.")
        .def("fill_workspace", [](Cpu& self, uint8_t byte) {
            const std::lock_guard<std::mutex> lock(self.workspace_mutex);
            self.workspace.fill(byte);
        }, "Sets every byte of the scratch memory: a test's poison.");
}

}  // namespace qwill
