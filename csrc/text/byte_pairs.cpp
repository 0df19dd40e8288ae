#include "text/byte_pairs.h"

#include <array>
#include <queue>

namespace qwill {

namespace {

bool printable(int byte) { return (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad); }

// The character of each byte: its own where that is printable, for the others those from U+0100 on, in their order.
struct Alphabet {
    std::array<std::string, 256> character;
    std::array<int, 0x800> byte;  // by code point, -1 for characters of no byte

    Alphabet() {
        byte.fill(-1);
        int next = 0x100;
        for (int b = 0; b < 256; ++b) {
            const int code = printable(b) ? b : next++;
            byte[static_cast<size_t>(code)] = b;
            auto& text = character[static_cast<size_t>(b)];
            if (code < 0x80) text = {static_cast<char>(code)};
            else text = {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
        }
    }

    // The byte of the character at a place and the character's length; byte -1 and length 1 for what is none of these.
    std::pair<int, size_t> at(std::string_view text, size_t place) const {
        const auto first = static_cast<uint8_t>(text[place]);
        if (first < 0x80) return {byte[first], 1};
        if (first < 0xc2 || first > 0xdf || place + 1 == text.size()) return {-1, 1};
        const auto second = static_cast<uint8_t>(text[place + 1]);
        if ((second & 0xc0) != 0x80) return {-1, 1};
        const int found = byte[static_cast<size_t>((first & 0x1f) << 6 | (second & 0x3f))];
        return {found, found < 0 ? 1 : 2};
    }
};

const Alphabet& alphabet() {
    static const Alphabet table;
    return table;
}

// The byte whose character a token is, or -1.
int single_byte(std::string_view token) {
    if (token.empty() || token.size() > 2) return -1;
    const auto [byte, length] = alphabet().at(token, 0);
    return length == token.size() ? byte : -1;
}

// At least half of the places stay empty, so that searches end soon.
size_t table_size(int64_t entries) {
    size_t size = 16;
    while (size < 2 * static_cast<size_t>(entries)) size *= 2;
    return size;
}

uint64_t mixed(uint64_t value) {
    value *= 0x9e3779b97f4a7c15u;
    return value ^ value >> 32;
}

size_t hash(std::string_view text) { return std::hash<std::string_view>{}(text); }

// Two neighbours that may be merged.
struct Candidate {
    int32_t rank, place, left, right, result;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : place > other.place; }
};

// A token of a piece and its neighbours' places, -1 for none.
struct Symbol {
    int32_t id, before, after;
};

}  // namespace

BytePairs::BytePairs(int64_t tokens, int64_t characters, int32_t highest_id)
    : spans_(static_cast<size_t>(highest_id + 1)), by_text_(table_size(tokens), -1), byte_ids_(256, -1) {
    characters_.reserve(static_cast<size_t>(characters));
    reset_merges(0);
}

void BytePairs::reset_merges(int64_t merges) {
    merges_.assign(table_size(merges), {});
    merge_count_ = 0;
}

std::string_view BytePairs::text(int32_t id) const {
    const Span& span = spans_[static_cast<size_t>(id)];
    return {characters_.data() + span.begin, static_cast<size_t>(span.length)};
}

void BytePairs::add(int32_t id, std::string_view token) {
    forget(token);
    spans_[static_cast<size_t>(id)] = {static_cast<uint32_t>(characters_.size()), static_cast<int32_t>(token.size())};
    characters_.insert(characters_.end(), token.begin(), token.end());
    size_t place = hash(token) & (by_text_.size() - 1);
    while (by_text_[place] >= 0) place = (place + 1) & (by_text_.size() - 1);
    by_text_[place] = id;
    if (const int byte = single_byte(token); byte >= 0) byte_ids_[static_cast<size_t>(byte)] = id;
}

void BytePairs::forget(std::string_view token) {
    const int32_t id = find(token);
    if (id < 0) return;
    spans_[static_cast<size_t>(id)].length = -1;  // its place in the table stays taken
    if (const int byte = single_byte(token); byte >= 0) byte_ids_[static_cast<size_t>(byte)] = -1;
}

int32_t BytePairs::find(std::string_view token) const {
    const size_t last = by_text_.size() - 1;
    for (size_t place = hash(token) & last; by_text_[place] >= 0; place = (place + 1) & last) {
        const int32_t id = by_text_[place];
        if (spans_[static_cast<size_t>(id)].length >= 0 && text(id) == token) return id;
    }
    return -1;
}

size_t BytePairs::merge_place(int32_t left, int32_t right) const {
    const size_t last = merges_.size() - 1;
    size_t place = mixed(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right)) & last;
    while (merges_[place].left >= 0 && (merges_[place].left != left || merges_[place].right != right)) place = (place + 1) & last;
    return place;
}

bool BytePairs::merge(std::string_view left, std::string_view right) {
    std::string both(left);
    both += right;
    const int32_t first = find(left), second = find(right), result = find(both);
    if (first < 0 || second < 0 || result < 0) return false;
    merges_[merge_place(first, second)] = {first, second, merge_count_++, result};
    return true;
}

int64_t BytePairs::size() const {
    int64_t size = static_cast<int64_t>(spans_.size());
    while (size > 0 && spans_[static_cast<size_t>(size - 1)].length < 0) --size;
    return size;
}

std::string BytePairs::bytes(int64_t id) const {
    std::string found;
    if (id < 0 || id >= static_cast<int64_t>(spans_.size()) || spans_[static_cast<size_t>(id)].length < 0) return found;
    const std::string_view token = text(static_cast<int32_t>(id));
    for (size_t place = 0; place < token.size();) {
        const auto [byte, length] = alphabet().at(token, place);
        found += byte < 0 ? token[place] : static_cast<char>(byte);
        place += length;
    }
    return found;
}

void BytePairs::encode(std::string_view piece, bool whole, std::vector<int32_t>& ids) const {
    if (whole) {
        std::string token;
        for (const char byte : piece) token += alphabet().character[static_cast<uint8_t>(byte)];
        if (const int32_t id = find(token); id >= 0) {
            ids.push_back(id);
            return;
        }
    }
    std::vector<Symbol> symbols;
    for (const char byte : piece) {
        const int32_t id = byte_ids_[static_cast<uint8_t>(byte)], place = static_cast<int32_t>(symbols.size());
        if (id >= 0) symbols.push_back({id, place - 1, place + 1});
    }
    if (symbols.empty()) return;
    symbols.back().after = -1;
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<Candidate>> candidates;
    const auto consider = [&](int32_t place) {
        if (place < 0 || symbols[static_cast<size_t>(place)].after < 0) return;
        const Symbol& left = symbols[static_cast<size_t>(place)];
        const int32_t right = symbols[static_cast<size_t>(left.after)].id;
        const Merge& merge = merges_[merge_place(left.id, right)];
        if (merge.left >= 0) candidates.push({merge.rank, place, left.id, right, merge.result});
    };
    for (int32_t place = 0; place < static_cast<int32_t>(symbols.size()); ++place) consider(place);
    while (!candidates.empty()) {
        const Candidate best = candidates.top();
        candidates.pop();
        Symbol& left = symbols[static_cast<size_t>(best.place)];
        // What was merged meanwhile is no longer what it was; a symbol that went into another one has id -1.
        if (left.id != best.left || left.after < 0 || symbols[static_cast<size_t>(left.after)].id != best.right) continue;
        Symbol& right = symbols[static_cast<size_t>(left.after)];
        left.id = best.result;
        right.id = -1;
        left.after = right.after;
        if (left.after >= 0) symbols[static_cast<size_t>(left.after)].before = best.place;
        consider(left.before);
        consider(best.place);
    }
    for (int32_t place = 0; place >= 0; place = symbols[static_cast<size_t>(place)].after) {
        ids.push_back(symbols[static_cast<size_t>(place)].id);
    }
}

}  // namespace qwill
