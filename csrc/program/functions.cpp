#include "program/functions.h"

#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "formats/decode.h"

namespace qwill {

namespace {

struct Cpu {
    Cpu(const std::string& isa, int threads) : kernels(kernels_named(isa.c_str())), pool(threads) {
        if (kernels == nullptr) throw std::runtime_error("this processor lacks " + isa);
    }
    const Kernels* kernels;
    ThreadPool pool;
    Workspace workspace;
};

// The arguments one after the other.
class Arguments {
public:
    explicit Arguments(const std::vector<Argument>& all) : all_(all) {}
    const Argument& next() { return all_.at(position_++); }
    int64_t whole() { return next().whole; }
    float real() { return static_cast<float>(next().real); }
    // Arrays behind a number that says how many.
    std::vector<const Argument*> list() {
        std::vector<const Argument*> arrays(static_cast<size_t>(whole()));
        for (const Argument*& each : arrays) each = &next();
        return arrays;
    }

private:
    const std::vector<Argument>& all_;
    size_t position_ = 0;
};

using Returned = std::vector<AlignedBuffer>;

Returned isas() {
    std::string names;
    for (const char* const* name = available_isas(); *name != nullptr; ++name) names += std::string(*name) + "\n";
    Returned returned;
    returned.emplace_back(static_cast<int64_t>(names.size()));
    std::memcpy(returned[0].data(), names.data(), names.size());
    return returned;
}

Returned elementwise(void (*function)(const float*, float*, int64_t), Arguments& in) {
    const Argument &x = in.next(), &out = in.next();
    function(x.data<float>(), out.data<float>(), x.shape.at(0));
    return {};
}

Returned rms_norm(Cpu& cpu, Arguments& in) {
    const Argument &x = in.next(), &weight = in.next();
    const float eps = in.real();
    cpu.kernels->mixers.rms_norm({x.data<float>(), weight.data<float>(), in.next().data<float>(), x.shape.at(0), x.shape.at(1), eps},
                                 cpu.pool);
    return {};
}

Returned layer_norm(Cpu& cpu, Arguments& in) {
    const Argument &x = in.next(), &weight = in.next(), &bias = in.next();
    const float eps = in.real();
    cpu.kernels->mixers.layer_norm({x.data<float>(), weight.data<float>(), bias.data<float>(), in.next().data<float>(), x.shape.at(0),
                                    x.shape.at(1), eps}, cpu.pool);
    return {};
}

// The weight is packed for the call: what plan_weight takes comes first, lists behind their lengths.
Returned linear(Cpu& cpu, Arguments& in) {
    PackArgs args{};
    args.type = static_cast<int>(in.whole());
    const auto parts = in.list();
    args.rows = in.whole();
    args.columns = in.whole();
    const auto scales = in.list(), row_scales = in.list();
    Weight weight{};
    weight.rows = args.rows;
    weight.columns = args.columns;
    weight.experts = static_cast<int64_t>(parts.size());
    for (const Argument* part : parts) args.parts.push_back(part->data<const uint8_t>());
    for (const Argument* part : scales) {
        const float* values = part->data<float>();
        args.scales.insert(args.scales.end(), values, values + part->shape.at(0) * part->shape.at(1));
    }
    for (const Argument* part : row_scales) {
        args.row_scales.insert(args.row_scales.end(), part->data<float>(), part->data<float>() + args.rows);
        args.row_scales.resize(args.row_scales.size() + static_cast<size_t>(weight.panels() * kPanelRows - args.rows));
    }
    PackItem item{std::move(args), &weight};
    if (cpu.kernels->linear.pack(&item, 1, cpu.pool) >= 0) throw std::runtime_error("the weight is not finite");
    const Argument &x = in.next(), &bias = in.next();
    const auto activation = static_cast<Activation>(in.whole());
    const bool add = in.whole() != 0;
    const Projection projection{&weight, bias.data<float>(), in.next().data<float>(), activation, add};
    cpu.kernels->linear.linear({x.data<float>(), nullptr, 0.0f, x.shape.at(0), &projection, 1}, cpu.pool, cpu.workspace);
    return {};
}

Returned attention(Cpu& cpu, Arguments& in, PageType type) {
    AttentionArgs args{};
    const Argument &q_gate = in.next(), &k = in.next(), &v = in.next(), &q_norm = in.next(), &k_norm = in.next();
    args.eps = in.real();
    const Argument &cos = in.next(), &sin = in.next(), &k_pages = in.next(), &v_pages = in.next(), &block_tables = in.next();
    const Argument &starts = in.next(), &contexts = in.next();
    args.heads = in.whole();
    args.out = in.next().data<float>();
    args.q_gate = q_gate.data<float>();
    args.k = k.data<float>();
    args.v = v.data<float>();
    args.q_norm = q_norm.data<float>();
    args.k_norm = k_norm.data<float>();
    args.cos = cos.data<float>();
    args.sin = sin.data<float>();
    args.k_pages = k_pages.data<void>();
    args.v_pages = v_pages.data<void>();
    args.block_tables = block_tables.data<int32_t>();
    args.starts = starts.data<int32_t>();
    args.contexts = contexts.data<int32_t>();
    args.tokens = q_gate.shape.at(0);
    args.sequences = contexts.shape.at(0);
    args.kv_heads = k_pages.shape.at(1);
    args.page = k_pages.shape.at(2);
    args.dim = q_norm.shape.at(0);
    args.rotary = 2 * cos.shape.at(1);
    args.max_pages = block_tables.shape.at(1);
    args.page_type = type;
    cpu.kernels->mixers.attention(args, cpu.pool);
    return {};
}

Returned gated_delta(Cpu& cpu, Arguments& in) {
    GatedDeltaArgs args{};
    const Argument& qkv = in.next();
    args.qkv = qkv.data<float>();
    args.z = in.next().data<float>();
    args.b = in.next().data<float>();
    args.a = in.next().data<float>();
    const Argument& conv_weight = in.next();
    args.conv_weight = conv_weight.data<float>();
    args.A = in.next().data<float>();
    args.dt_bias = in.next().data<float>();
    args.norm = in.next().data<float>();
    args.eps = in.real();
    args.conv_states = in.next().data<float>();
    const Argument &states = in.next(), &pending = in.next();
    args.states = states.data<float>();
    args.pending = pending.data<float>();
    args.starts = in.next().data<int32_t>();
    const Argument& slots = in.next();
    args.slots = slots.data<int32_t>();
    args.replayed = in.next().data<int32_t>();
    args.kept = in.next().data<int32_t>();
    args.key_heads = in.whole();
    args.tiled = in.whole() != 0;
    args.out = in.next().data<float>();
    args.tokens = qkv.shape.at(0);
    args.sequences = slots.shape.at(0);
    args.value_heads = states.shape.at(1);
    args.key_dim = states.shape.at(2);
    args.value_dim = states.shape.at(3);
    args.kernel = conv_weight.shape.at(0);
    args.most_pending = pending.shape.at(1);
    cpu.kernels->mixers.gated_delta(args, cpu.pool);
    return {};
}

Returned vision_attention(Cpu& cpu, Arguments& in) {
    const Argument &qkv = in.next(), &cos = in.next(), &sin = in.next(), &starts = in.next();
    const int64_t heads = in.whole();
    const bool rounded = in.whole() != 0;
    cpu.kernels->mixers.vision_attention({qkv.data<float>(), cos.data<float>(), sin.data<float>(), starts.data<int32_t>(),
        in.next().data<float>(), qkv.shape.at(0), starts.shape.at(0) - 1, heads, 2 * cos.shape.at(1), rounded}, cpu.pool);
    return {};
}

Returned encode(Cpu& cpu, Arguments& in) {
    const auto type = static_cast<int>(in.whole());
    const Argument &values = in.next(), &importance = in.next();
    const int64_t rows = values.shape.at(0), columns = values.shape.at(1), elements = cpu.kernels->encoders.block_elements(type);
    if (elements == 0) throw std::runtime_error("no encoder for this type");
    Returned returned;
    returned.emplace_back(rows * (columns / elements) * scalar::formats::codec(type).block_bytes);
    cpu.kernels->encoders.encode({type, values.data<float>(), rows, columns, importance.data<float>(), returned[0].data()}, cpu.pool);
    return returned;
}

Returned encode_fp8(Cpu& cpu, Arguments& in) {
    const Argument& values = in.next();
    const int64_t rows = values.shape.at(0), columns = values.shape.at(1);
    Returned returned;
    returned.emplace_back(rows * columns);
    returned.emplace_back((rows + 127) / 128 * ((columns + 127) / 128) * static_cast<int64_t>(sizeof(float)));
    cpu.kernels->encoders.encode_fp8({values.data<float>(), rows, columns, returned[0].data(),
                                      reinterpret_cast<float*>(returned[1].data())}, cpu.pool);
    return returned;
}

// One byte: whether it is so.
Returned told(bool answer) {
    Returned returned;
    returned.emplace_back(1);
    *returned[0].data() = answer ? 1 : 0;
    return returned;
}

using Function = std::function<Returned(Cpu&, Arguments&)>;

const std::map<std::string, Function>& functions() {
    static const std::map<std::string, Function> all{
        {"exp", [](Cpu& cpu, Arguments& in) { return elementwise(cpu.kernels->mixers.exp, in); }},
        {"softplus", [](Cpu& cpu, Arguments& in) { return elementwise(cpu.kernels->mixers.softplus, in); }},
        {"rms_norm", rms_norm},
        {"layer_norm", layer_norm},
        {"linear", linear},
        {"attention", [](Cpu& cpu, Arguments& in) { return attention(cpu, in, PageType::f32); }},
        {"attention_half", [](Cpu& cpu, Arguments& in) { return attention(cpu, in, PageType::f16); }},
        {"attention_q8_0", [](Cpu& cpu, Arguments& in) { return attention(cpu, in, PageType::q8_0); }},
        {"gated_delta", gated_delta},
        {"vision_attention", vision_attention},
        {"encode", encode},
        {"encode_fp8", encode_fp8},
        {"can_encode", [](Cpu& cpu, Arguments& in) {
            return told(cpu.kernels->encoders.block_elements(static_cast<int>(in.whole())) > 0);
        }},
        {"is_finite", [](Cpu& cpu, Arguments& in) {
            const Argument& values = in.next();
            return told(cpu.kernels->encoders.is_finite(values.data<float>(), values.bytes.size() / 4, cpu.pool));
        }},
    };
    return all;
}

}  // namespace

std::vector<AlignedBuffer> run(Call& call) {
    if (call.function == "available_isas") return isas();
    const auto function = functions().find(call.function);
    if (function == functions().end()) throw std::runtime_error("no function " + call.function);
    Arguments in(call.arguments);
    const std::string isa = in.next().text;
    const auto threads = static_cast<int>(in.whole());
    static std::map<std::pair<std::string, int>, std::unique_ptr<Cpu>> cpus;
    auto& cpu = cpus[{isa, threads}];
    if (!cpu) cpu = std::make_unique<Cpu>(isa, threads);
    return function->second(*cpu, in);
}

}  // namespace qwill
