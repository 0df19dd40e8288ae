// Bindings of the byte-level BPE. Strings come as they lie in a GGUF file: a length in eight bytes, then the bytes.
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "bindings/strings.h"
#include "text/byte_pairs.h"

namespace qwill {

namespace {

// Tokens with their ids, those below 0 being left out.
std::unique_ptr<BytePairs> byte_pairs(const Bytes& data, int64_t start, const Ends& ends, const Array<const int32_t, 1>& ids) {
    const int64_t count = dim(ends, 0), size = count == 0 ? 0 : ends.data()[count - 1] - start;
    require(dim(ids, 0) == count, "BytePairs: one id for each token");
    require(size >= 0 && size < int64_t{1} << 31, "BytePairs: the tokens are too long");
    nb::gil_scoped_release unlocked;
    const int32_t highest = count == 0 ? -1 : *std::max_element(ids.data(), ids.data() + count);
    auto vocabulary = std::make_unique<BytePairs>(count, size, highest);
    each_string(data, start, ends, [&](int64_t i, std::string_view token) {
        if (ids.data()[i] >= 0) vocabulary->add(ids.data()[i], token);
    });
    return vocabulary;
}

// Merges as "left right". Returns the place of the first one that is not two tokens that make a token, or -1.
int64_t set_merges(BytePairs& self, const Bytes& data, int64_t start, const Ends& ends) {
    nb::gil_scoped_release unlocked;
    self.reset_merges(dim(ends, 0));
    int64_t wrong = -1;
    each_string(data, start, ends, [&](int64_t i, std::string_view merge) {
        const size_t space = merge.find(' ');
        if (wrong >= 0) return;
        const bool two = space != merge.npos && merge.find(' ', space + 1) == merge.npos;
        if (!two || !self.merge(merge.substr(0, space), merge.substr(space + 1))) wrong = i;
    });
    return wrong;
}

// The tokens of pieces of text, given as tuples that begin with a piece: what the library's pre-tokenizers return.
nb::list encode(const BytePairs& self, const nb::list& pieces, bool whole) {
    std::vector<std::string_view> texts;
    texts.reserve(pieces.size());
    for (const nb::handle piece : pieces) texts.push_back(nb::cast<std::string_view>(nb::cast<nb::tuple>(piece)[0]));
    std::vector<int32_t> found;
    {
        nb::gil_scoped_release unlocked;
        for (const std::string_view text : texts) self.encode(text, whole, found);
    }
    nb::list ids;
    for (const int32_t id : found) ids.append(id);
    return ids;
}

}  // namespace

void bind_text(nb::module_& m) {
    nb::class_<BytePairs>(m, "BytePairs", "A byte-level vocabulary and its merges.")
        .def(nb::new_(&byte_pairs), nb::arg("data"), nb::arg("start"), nb::arg("ends"), nb::arg("ids"))
        .def("set_merges", set_merges, nb::arg("data"), nb::arg("start"), nb::arg("ends"))
        .def("forget", &BytePairs::forget, nb::arg("token"))
        .def("find", &BytePairs::find, nb::arg("token"), "The id of a token; -1 without one.")
        .def_prop_ro("size", &BytePairs::size, "One more than the highest id that has a token.")
        .def("bytes", [](const BytePairs& self, int64_t id) {
            const std::string found = self.bytes(id);
            return nb::bytes(found.data(), found.size());
        }, nb::arg("id"), "The bytes that an id stands for; none without a token.")
        .def("encode", encode, nb::arg("pieces"), nb::arg("whole"));
}

}  // namespace qwill
