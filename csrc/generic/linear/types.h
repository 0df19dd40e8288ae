// Every weight type's packer and tile kernels, and packing itself.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "generic/linear/bf16_tile.h"
#include "generic/linear/float_tile.h"
#include "generic/linear/integer_pack.h"
#include "generic/linear/integer_tile.h"
#include "generic/linear/matrix_tile.h"
#include "generic/linear/mxfp8_tile.h"
#include "generic/linear/unfolded.h"

namespace qwill { namespace QWILL_ISA_NS {

// out[token][16]
using TileKernel = void (*)(const PanelData& panel, int64_t columns, const Tile& tile, float* out);

// The form of the activations that a type of weights is multiplied by.
enum class Form { values, quantized, coarse, pairs };

struct TypeKernels {
    int64_t (*panel_bytes)(int64_t columns);  // null: not packed but decoded while multiplying
    bool (*pack_panel)(const uint8_t* const* rows, int64_t columns, uint8_t* panel);
    Form form;
    TileKernel tiles[kTileTokens];  // by 1, 2 .. kTileTokens tokens
    // For full tiles; null where unfolding gains nothing.
    int64_t (*unfolded_bytes)(int64_t columns) = nullptr;
    void (*unfold)(const uint8_t* panel, int64_t columns, uint8_t* out) = nullptr;
    TileKernel unfolded_tile = nullptr;
};

// The kernels for 1, 2 .. kTileTokens tokens; kernel(n) gives that for n.
template <typename Kernel>
constexpr void set_tiles(TypeKernels& kernels, const Kernel& kernel) {
    unroll<kTileTokens>([&](auto n) { kernels.tiles[n] = kernel(std::integral_constant<int, n + 1>{}); });
}

template <typename Packer>
constexpr TypeKernels integer_type() {
    using Format = typename Packer::Format;
    TypeKernels kernels = {Format::panel_bytes, pack_integer_panel<Packer>, Format::kScaled == 32 ? Form::quantized : Form::coarse,
        {}};
    set_tiles(kernels, [](auto n) {
        if constexpr (kMatrixProducts && n == kTileTokens) return matrix_tile<Format, n>;
        else return integer_tile<Format, n>;
    });
    if constexpr (kUnfoldTiles > 0 && Format::kUnfolds) {
        kernels.unfolded_bytes = UnfoldedFormat<Format>::panel_bytes;
        kernels.unfold = unfold_panel<Format>;
        if constexpr (kMatrixProducts) kernels.unfolded_tile = matrix_tile<UnfoldedFormat<Format>, kTileTokens>;
        else kernels.unfolded_tile = integer_tile<UnfoldedFormat<Format>, kTileTokens>;
    }
    return kernels;
}
template <typename Packer>
struct IntegerType {
    static constexpr TypeKernels kernels = integer_type<Packer>();
};
template <typename Element>
constexpr TypeKernels float_type() {
    TypeKernels kernels = {float_panel_bytes<Element>, pack_float_panel<Element>, Form::values, {}};
    set_tiles(kernels, [](auto n) { return float_tile<Element, n>; });
    return kernels;
}
template <typename Element>
struct FloatType {
    static constexpr TypeKernels kernels = float_type<Element>();
};
constexpr TypeKernels bf16_type() {
    TypeKernels kernels = {bf16_panel_bytes, pack_bf16_panel<BF16Rows>, Form::pairs, {}};
    set_tiles(kernels, [](auto n) { return bf16_tile<n>; });
    return kernels;
}
constexpr TypeKernels mxfp8_type() {
    TypeKernels kernels = {mxfp8_panel_bytes, pack_mxfp8_panel, Form::values, {}};
    set_tiles(kernels, [](auto n) { return mxfp8_tile<n>; });
    return kernels;
}
struct MXFP8Type {
    static constexpr TypeKernels kernels = mxfp8_type();
};
struct BF16Type {
    static constexpr TypeKernels kernels = bf16_type();
};
// Decoded to float, a panel at a time.
constexpr TypeKernels decoded_type() {
    TypeKernels kernels = FloatType<F32Element>::kernels;
    kernels.panel_bytes = nullptr;
    kernels.pack_panel = nullptr;
    return kernels;
}
struct DecodedType {
    static constexpr TypeKernels kernels = decoded_type();
};

inline const TypeKernels& type_kernels(int type) {
    using Id = formats::TensorTypeId;
    switch (static_cast<Id>(type)) {
        case Id::F32: return FloatType<F32Element>::kernels;
        case Id::F16: return FloatType<F16Element>::kernels;
        case Id::BF16: return BF16Type::kernels;
        case Id::F8_E4M3: return FloatType<E4M3Element>::kernels;
        case Id::Q8_0: return IntegerType<PackQ8_0>::kernels;
        case Id::Q4_K: return IntegerType<PackQ4_K>::kernels;
        case Id::Q2_K: return IntegerType<PackQ2_K>::kernels;
        case Id::Q3_K: return IntegerType<PackQ3_K>::kernels;
        case Id::Q5_K: return IntegerType<PackQ5_K>::kernels;
        case Id::Q6_K: return IntegerType<PackQ6_K>::kernels;
        case Id::Q4_0: return IntegerType<PackQ4_0>::kernels;
        case Id::Q4_1: return IntegerType<PackQ4_1>::kernels;
        case Id::Q5_0: return IntegerType<PackQ5_0>::kernels;
        case Id::Q5_1: return IntegerType<PackQ5_1>::kernels;
        case Id::IQ4_NL: return IntegerType<PackIQ4_NL>::kernels;
        case Id::IQ4_XS: return IntegerType<PackIQ4_XS>::kernels;
        case Id::MXFP4: return IntegerType<PackMXFP4>::kernels;
        case Id::MXFP8: return MXFP8Type::kernels;
        case Id::AFFINE2_64: return IntegerType<PackAffine<2, 64>>::kernels;
        case Id::AFFINE3_64: return IntegerType<PackAffine<3, 64>>::kernels;
        case Id::AFFINE4_64: return IntegerType<PackAffine<4, 64>>::kernels;
        case Id::AFFINE5_64: return IntegerType<PackAffine<5, 64>>::kernels;
        case Id::AFFINE6_64: return IntegerType<PackAffine<6, 64>>::kernels;
        case Id::AFFINE8_64: return IntegerType<PackAffine<8, 64>>::kernels;
        case Id::AFFINE2_32: return IntegerType<PackAffine<2, 32>>::kernels;
        case Id::AFFINE3_32: return IntegerType<PackAffine<3, 32>>::kernels;
        case Id::AFFINE4_32: return IntegerType<PackAffine<4, 32>>::kernels;
        case Id::AFFINE5_32: return IntegerType<PackAffine<5, 32>>::kernels;
        case Id::AFFINE6_32: return IntegerType<PackAffine<6, 32>>::kernels;
        case Id::AFFINE8_32: return IntegerType<PackAffine<8, 32>>::kernels;
        case Id::AFFINE8_32_F16: return IntegerType<PackAffineHalf>::kernels;
        default: return DecodedType::kernels;
    }
}

inline int64_t row_bytes(int type, int64_t columns) {
    const formats::RowCodec codec = formats::codec(type);
    return columns / codec.block_elements * codec.block_bytes;
}

// Whether the rows of a panel decode to finite values: for the types that are not packed.
inline bool panel_finite(const Weight& weight, int64_t expert, int64_t panel) {
    const int64_t bytes = row_bytes(weight.type, weight.columns);
    const formats::RowCodec codec = formats::codec(weight.type);
    const uint8_t* part = weight.parts[static_cast<size_t>(expert)];
    const int64_t first = panel * kPanelRows;
    float values[256];
    for (int64_t row = first; row < first + kPanelRows && row < weight.rows; ++row) {
        const uint8_t* blocks = part + row * bytes;
        for (int64_t k = 0; k < weight.columns; k += codec.block_elements, blocks += codec.block_bytes) {
            codec.decode(blocks, codec.block_elements, values);
            for (int i = 0; i < codec.block_elements; ++i) {
                if (!F32Element::finite(values[i])) return false;
            }
        }
    }
    return true;
}

inline bool is_bf16(const PackArgs& args, ThreadPool& pool) {
    if (args.type != static_cast<int>(formats::TensorTypeId::F16)) return false;
    std::atomic<bool> exact{true};
    pool.run(static_cast<int64_t>(args.parts.size()) * args.rows, [&](int64_t index, int) {
        const uint8_t* row = args.parts[static_cast<size_t>(index / args.rows)] + index % args.rows * args.columns * 2;
        for (int64_t k = 0; k < args.columns && exact.load(std::memory_order_relaxed); ++k) {
            if (!F16Rows::exact(row + 2 * k)) exact.store(false, std::memory_order_relaxed);
        }
    });
    return exact.load();
}

constexpr int64_t kPackedTogether = 32;  // panels in a task: few enough for many tasks, enough that giving back is cheap

// A weight that is being packed, and its share of the tasks.
struct Packing {
    const PackArgs* args;
    Weight* weight;
    bool (*pack_panel)(const uint8_t* const* rows, int64_t columns, uint8_t* panel);  // null: only looked through
    int64_t groups, first_task;  // tasks of an expert; those of the weights before
    bool finite;                 // its scales

    Packing(PackItem& item, int64_t first, ThreadPool& pool) : args(&item.args), weight(item.weight), first_task(first) {
        const bool narrowed = is_bf16(*args, pool);
        weight->type = narrowed ? static_cast<int>(formats::TensorTypeId::BF16) : args->type;
        const TypeKernels& kernels = type_kernels(weight->type);
        pack_panel = narrowed ? pack_bf16_panel<F16Rows> : kernels.pack_panel;
        weight->scales = args->scales;
        weight->row_scales = args->row_scales;
        const auto all_finite = [](const std::vector<float>& scales) {
            return std::all_of(scales.begin(), scales.end(), [](float scale) { return F32Element::finite(scale); });
        };
        finite = all_finite(weight->scales) && all_finite(weight->row_scales);
        groups = (weight->panels() + kPackedTogether - 1) / kPackedTogether;
        if (pack_panel == nullptr) {
            weight->parts = args->parts;
            return;
        }
        weight->panel_bytes = kernels.panel_bytes(args->columns);
    }

    int64_t bytes() const { return (weight->packed_bytes() + kCacheLine - 1) / kCacheLine * kCacheLine; }

    // Where the weight is to be packed, in a buffer that it shares.
    void place(const std::shared_ptr<const AlignedBuffer>& buffer, int64_t begin) const {
        if (pack_panel == nullptr) return;
        weight->storage = buffer;
        for (int64_t e = 0; e < weight->experts; ++e) {
            weight->parts.push_back(buffer->data() + begin + e * weight->panels() * weight->panel_bytes);
        }
    }

    int64_t tasks() const { return weight->experts * groups; }

    // False when a value is not finite.
    bool run(int64_t task) const {
        const int64_t expert = task / groups, panels = weight->panels(), bytes = row_bytes(args->type, args->columns);
        const int64_t first = task % groups * kPackedTogether, last = std::min(first + kPackedTogether, panels);
        const uint8_t* part = args->parts[static_cast<size_t>(expert)];
        bool good = true;
        for (int64_t panel = first; panel < last; ++panel) {
            if (pack_panel == nullptr) {
                good &= panel_finite(*weight, expert, panel);
                continue;
            }
            const uint8_t* rows[kPanelRows];
            for (int64_t r = 0; r < kPanelRows; ++r) {
                const int64_t row = panel * kPanelRows + r;
                rows[r] = row < args->rows ? part + row * bytes : nullptr;
            }
            // Sixteen rows at a time are too many places for the processor's own look-ahead.
            const int64_t next = std::min((panel + 2) * kPanelRows, args->rows) * bytes;
            for (int64_t at = (panel + 1) * kPanelRows * bytes; at < next; at += kCacheLine) {
                __builtin_prefetch(part + at);
            }
            auto* out = const_cast<uint8_t*>(weight->parts[static_cast<size_t>(expert)]) + panel * weight->panel_bytes;
            good &= pack_panel(rows, args->columns, out);
        }
        const int64_t end = std::min(last * kPanelRows, args->rows);
        if (pack_panel != nullptr && args->mapped) give_back(part + first * kPanelRows * bytes, part + end * bytes);
        return good;
    }
};

// One job for all weights: each wait for the slowest thread would cost a time slice where another program has a core. And one
// buffer: it is on huge pages, which small matrices by themselves would not get.
inline int64_t pack(PackItem* items, int64_t count, ThreadPool& pool) {
    std::vector<Packing> packings;
    int64_t tasks = 0, bytes = 0;
    for (int64_t i = 0; i < count; ++i) {
        packings.emplace_back(items[i], tasks, pool);
        if (!packings.back().finite) return i;
        tasks += packings.back().tasks();
        bytes += packings.back().bytes();
    }
    const auto buffer = std::make_shared<const AlignedBuffer>(bytes);
    bytes = 0;
    for (const Packing& packing : packings) {
        packing.place(buffer, bytes);
        bytes += packing.bytes();
    }
    std::atomic<int64_t> broken{count};
    pool.run(tasks, [&](int64_t task, int) {
        const auto after = std::upper_bound(packings.begin(), packings.end(), task,
                                            [](int64_t t, const Packing& p) { return t < p.first_task; });
        const int64_t index = after - packings.begin() - 1;
        if (packings[static_cast<size_t>(index)].run(task - packings[static_cast<size_t>(index)].first_task)) return;
        int64_t known = broken.load();
        while (index < known && !broken.compare_exchange_weak(known, index)) {}
    });
    return broken.load() < count ? broken.load() : -1;
}

// A panel of a weight, ready to multiply tiles by.
class Panel {
public:
    // `scratch`, of scratch_size floats, receives the panel decoded or unfolded.
    Panel(const Weight& weight, int64_t expert, int64_t panel, float* scratch)
        : kernels_(&type_kernels(weight.type)), columns_(weight.columns) {
        const uint8_t* part = weight.parts[static_cast<size_t>(expert)];
        if (weight.panel_bytes != 0) {
            data_.data = part + panel * weight.panel_bytes;
        } else {
            decode(weight, part, panel, scratch);
            data_.data = reinterpret_cast<const uint8_t*>(scratch);
        }
        if (!weight.scales.empty()) {
            const int64_t across = (weight.columns + kSumColumns - 1) / kSumColumns;
            const int64_t down = (weight.rows + kSumColumns - 1) / kSumColumns;
            data_.scales = weight.scales.data() + (expert * down + panel * kPanelRows / kSumColumns) * across;
        }
        if (!weight.row_scales.empty()) row_scales_ = weight.row_scales.data() + (expert * weight.panels() + panel) * kPanelRows;
    }

    // For many tiles, of which `tiles` are multiplied one after the other.
    void unfold(int64_t tiles, float* scratch) {
        if constexpr (kUnfoldTiles > 0) {
            if (kernels_->unfold == nullptr || tiles < kUnfoldTiles) return;
            auto* out = reinterpret_cast<uint8_t*>(scratch);
            kernels_->unfold(data_.data, columns_, out);
            unfolded_.data = out;
        }
    }

    bool unfolded() const { return unfolded_.data != nullptr; }

    // The next multiplication fetches a panel, or nothing; not that of an unfolded one.
    void fetch(const uint8_t* next) { data_.next = next; }

    // out[token][16]
    void multiply(const Tile& tile, float* out) const {
        if (unfolded() && tile.tokens == kTileTokens) {
            kernels_->unfolded_tile(unfolded_, columns_, tile, out);
        } else {
            kernels_->tiles[tile.tokens - 1](data_, columns_, tile, out);
        }
        if (row_scales_ == nullptr) return;
        const F32x16 scales = load(row_scales_);
        for (int t = 0; t < tile.tokens; ++t) store(out + kPanelRows * t, load(out + kPanelRows * t) * scales);
    }

    static int64_t scratch_size(const Weight& weight) {
        if (weight.panel_bytes == 0) return weight.columns * kPanelRows;
        const TypeKernels& kernels = type_kernels(weight.type);
        return kernels.unfold != nullptr ? kernels.unfolded_bytes(weight.columns) / static_cast<int64_t>(sizeof(float)) : 0;
    }

private:
    static void decode(const Weight& weight, const uint8_t* part, int64_t panel, float* out) {
        const formats::RowCodec codec = formats::codec(weight.type);
        const int64_t bytes = row_bytes(weight.type, weight.columns);
        const int64_t first = panel * kPanelRows, rows = weight.rows - first < kPanelRows ? weight.rows - first : kPanelRows;
        float values[256];
        // A block of all rows after the other: what they write stays in the first cache.
        for (int64_t k = 0; k < weight.columns; k += codec.block_elements, out += codec.block_elements * kPanelRows) {
            for (int64_t r = 0; r < rows; ++r) {
                codec.decode(part + (first + r) * bytes + k / codec.block_elements * codec.block_bytes, codec.block_elements, values);
                for (int64_t i = 0; i < codec.block_elements; ++i) out[kPanelRows * i + r] = values[i];
            }
            for (int64_t r = rows; r < kPanelRows; ++r) {
                for (int64_t i = 0; i < codec.block_elements; ++i) out[kPanelRows * i + r] = 0.0f;
            }
        }
    }

    const TypeKernels* kernels_;
    int64_t columns_;
    const float* row_scales_ = nullptr;
    PanelData data_{nullptr, nullptr, nullptr}, unfolded_{nullptr, nullptr, nullptr};
};

}}  // namespace qwill::QWILL_ISA_NS
