// Bindings of norms and token mixers.
#include <algorithm>

#include "bindings/bindings.h"

namespace qwill {

namespace {

using Floats1 = Array<const float, 1>;
using Floats2 = Array<const float, 2>;
using Ints1 = Array<const int32_t, 1>;
using Ints2 = Array<const int32_t, 2>;
using Output2 = Array<float, 2>;

void require_starts(const Ints1& starts, int64_t tokens) {
    const int32_t* begin = starts.data();
    const int32_t* end = begin + dim(starts, 0);
    require(begin != end && *begin == 0 && end[-1] == tokens && std::is_sorted(begin, end),
            "starts must rise from 0 to the number of tokens");
}

void rms_norm(Cpu& self, const Floats2& x, const Floats1& weight, float eps, const Output2& out) {
    require(has_shape(weight, {dim(x, 1)}) && has_shape(out, {dim(x, 0), dim(x, 1)}), "rms_norm: x, weight and out differ in shape");
    const RmsNormArgs args{x.data(), weight.data(), out.data(), dim(x, 0), dim(x, 1), eps};
    nb::gil_scoped_release unlocked;
    self.kernels->mixers.rms_norm(args, self.pool);
}

void layer_norm(Cpu& self, const Floats2& x, const Floats1& weight, const Floats1& bias, float eps, const Output2& out) {
    require(has_shape(weight, {dim(x, 1)}) && has_shape(bias, {dim(x, 1)}) && has_shape(out, {dim(x, 0), dim(x, 1)}),
            "layer_norm: x, weight, bias and out differ in shape");
    const LayerNormArgs args{x.data(), weight.data(), bias.data(), out.data(), dim(x, 0), dim(x, 1), eps};
    nb::gil_scoped_release unlocked;
    self.kernels->mixers.layer_norm(args, self.pool);
}

void gated_delta(Cpu& self, const Floats2& qkv, const Floats2& z, const Floats2& b, const Floats2& a, const Floats2& conv_weight,
                 const Floats1& A, const Floats1& dt_bias, const Floats1& norm, float eps, const Array<float, 3>& conv_states,
                 const Array<float, 4>& states, const Array<float, 3>& pending, const Ints1& starts, const Ints1& slots,
                 const Ints1& replayed, const Ints1& kept, int64_t key_heads, bool tiled, const Output2& out) {
    const int64_t tokens = dim(qkv, 0), channels = dim(qkv, 1), kernel = dim(conv_weight, 0), slot_count = dim(states, 0);
    const int64_t value_heads = dim(states, 1), key_dim = dim(states, 2), value_dim = dim(states, 3), sequences = dim(slots, 0);
    require(key_heads >= 1 && value_heads % key_heads == 0 && kernel >= 1, "gated_delta: value heads must be a multiple of key heads");
    require(channels == 2 * key_heads * key_dim + value_heads * value_dim, "gated_delta: qkv has the wrong width");
    require(has_shape(z, {tokens, value_heads * value_dim}) && has_shape(out, {tokens, value_heads * value_dim}) &&
            has_shape(b, {tokens, value_heads}) && has_shape(a, {tokens, value_heads}), "gated_delta: qkv, z, b, a and out differ in shape");
    require(has_shape(conv_weight, {kernel, channels}) && has_shape(A, {value_heads}) && has_shape(dt_bias, {value_heads}) &&
            has_shape(norm, {value_dim}), "gated_delta: a parameter has the wrong shape");
    require(has_shape(conv_states, {slot_count, kernel - 1, channels}), "gated_delta: conv_states has the wrong shape");
    require(dim(starts, 0) == sequences + 1, "gated_delta: starts must have one entry more than slots");
    require_starts(starts, tokens);
    require(std::all_of(slots.data(), slots.data() + sequences, [&](int32_t slot) { return slot >= 0 && slot < slot_count; }),
            "gated_delta: a slot is out of range");
    const int64_t most_pending = dim(pending, 1);
    require(has_shape(pending, {slot_count, most_pending, channels + 2 * value_heads}) && most_pending <= 64,
            "gated_delta: pending has the wrong shape");
    require(has_shape(replayed, {sequences}) && has_shape(kept, {sequences}), "gated_delta: slots, replayed and kept differ in length");
    for (int64_t s = 0; s < sequences; ++s) {
        const int64_t rows = starts.data()[s + 1] - starts.data()[s], again = replayed.data()[s], taken = kept.data()[s];
        require(again >= 0 && again <= (rows > 0 ? most_pending : 0), "gated_delta: more rows are replayed than can be pending");
        require(taken >= 0 && taken <= rows && rows - taken <= most_pending, "gated_delta: more rows are left out than can be pending");
    }
    const GatedDeltaArgs args{qkv.data(), z.data(), b.data(), a.data(), conv_weight.data(), A.data(), dt_bias.data(), norm.data(),
                              conv_states.data(), states.data(), pending.data(), starts.data(), slots.data(), replayed.data(), kept.data(),
                              out.data(), tokens, sequences, key_heads, value_heads, key_dim, value_dim, kernel, most_pending, eps, tiled};
    nb::gil_scoped_release unlocked;
    self.kernels->mixers.gated_delta(args, self.pool);
}

// Pages come as float32, as float16 seen as uint16, or as bytes, which are Q8_0 blocks.
template <typename Page>
void attention(Cpu& self, const Floats2& q_gate, const Floats2& k, const Floats2& v, const Floats1& q_norm, const Floats1& k_norm,
               float eps, const Floats2& cos, const Floats2& sin, const Array<Page, 4>& k_pages, const Array<Page, 4>& v_pages,
               const Ints2& block_tables, const Ints1& starts, const Ints1& contexts, int64_t heads, const Output2& out) {
    const int64_t tokens = dim(q_gate, 0), pages = dim(k_pages, 0), kv_heads = dim(k_pages, 1), page = dim(k_pages, 2);
    constexpr PageType type = sizeof(Page) == 4 ? PageType::f32 : sizeof(Page) == 2 ? PageType::f16 : PageType::q8_0;
    const int64_t row = dim(k_pages, 3), width = type == PageType::q8_0 ? row / 34 * 32 : row, half = dim(cos, 1), sequences = dim(contexts, 0), max_pages = dim(block_tables, 1);
    require(width % 16 == 0 && page % 16 == 0 && page > 0, "attention: the head width and the page must be multiples of 16");
    require(type != PageType::q8_0 || row % 34 == 0, "attention: a row of keys must be whole blocks of 34 bytes");
    require(kv_heads >= 1 && heads % kv_heads == 0, "attention: heads must be a multiple of the key-value heads");
    require(has_shape(v_pages, {pages, kv_heads, page, row}), "attention: k_pages and v_pages differ in shape");
    require(has_shape(q_gate, {tokens, heads * 2 * width}) && has_shape(out, {tokens, heads * width}) &&
            has_shape(k, {tokens, kv_heads * width}) && has_shape(v, {tokens, kv_heads * width}), "attention: q_gate, k, v and out differ in shape");
    require(has_shape(q_norm, {width}) && has_shape(k_norm, {width}), "attention: a norm has the wrong width");
    require(has_shape(cos, {tokens, half}) && has_shape(sin, {tokens, half}) && 2 * half <= width, "attention: cos or sin has the wrong shape");
    require(dim(starts, 0) == sequences + 1 && dim(block_tables, 0) == sequences, "attention: starts, contexts and block_tables differ in length");
    require_starts(starts, tokens);
    for (int64_t s = 0; s < sequences; ++s) {
        const int64_t keys = contexts.data()[s] + starts.data()[s + 1] - starts.data()[s], used = (keys + page - 1) / page;
        const int32_t* table = block_tables.data() + s * max_pages;
        require(contexts.data()[s] >= 0 && used <= max_pages, "attention: a sequence is longer than its block table");
        require(std::all_of(table, table + used, [&](int32_t index) { return index >= 0 && index < pages; }),
                "attention: a block table names a page that does not exist");
    }
    const AttentionArgs args{q_gate.data(), k.data(), v.data(), q_norm.data(), k_norm.data(), cos.data(), sin.data(), k_pages.data(),
                             v_pages.data(), block_tables.data(), starts.data(), contexts.data(), out.data(), tokens, sequences, heads,
                             kv_heads, width, 2 * half, page, max_pages, eps, type};
    nb::gil_scoped_release unlocked;
    self.kernels->mixers.attention(args, self.pool);
}

void vision_attention(Cpu& self, const Floats2& qkv, const Floats2& cos, const Floats2& sin, const Ints1& starts, int64_t heads,
                      bool rounded, const Output2& out) {
    const int64_t tokens = dim(qkv, 0), half = dim(cos, 1), width = 2 * half;
    require(heads >= 1 && has_shape(qkv, {tokens, 3 * heads * width}) && has_shape(out, {tokens, heads * width}) &&
            has_shape(cos, {tokens, half}) && has_shape(sin, {tokens, half}), "vision_attention: qkv, cos, sin and out differ in shape");
    require_starts(starts, tokens);
    const VisionAttentionArgs args{qkv.data(), cos.data(), sin.data(), starts.data(), out.data(), tokens, dim(starts, 0) - 1, heads, width, rounded};
    nb::gil_scoped_release unlocked;
    self.kernels->mixers.vision_attention(args, self.pool);
}

void elementwise(void (*function)(const float*, float*, int64_t), const Floats1& x, const Array<float, 1>& out) {
    require(has_shape(out, {dim(x, 0)}), "x and out differ in length");
    function(x.data(), out.data(), dim(x, 0));
}

}  // namespace

void bind_mixers(nb::module_&, nb::class_<Cpu>& cpu) {
    cpu.def("rms_norm", rms_norm)
        .def("layer_norm", layer_norm)
        .def("gated_delta", gated_delta)
        .def("attention", attention<float>)
        .def("attention_half", attention<uint16_t>)
        .def("attention_q8_0", attention<uint8_t>)
        .def("vision_attention", vision_attention)
        .def("exp", [](Cpu& self, const Floats1& x, const Array<float, 1>& out) { elementwise(self.kernels->mixers.exp, x, out); })
        .def("softplus", [](Cpu& self, const Floats1& x, const Array<float, 1>& out) { elementwise(self.kernels->mixers.softplus, x, out); });
}

}  // namespace qwill
