// Byte-level BPE over a compact vocabulary: a quarter of a million tokens and as many merges take 15 MB and tens of
// milliseconds to build.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qwill {

// Tokens are strings of the byte-level alphabet in UTF-8, in which a printable character stands for each byte.
class BytePairs {
public:
    // No more tokens than `tokens` are added, of `characters` bytes together and no id above `highest_id`.
    BytePairs(int64_t tokens, int64_t characters, int32_t highest_id);

    // Of equal tokens the last one counts, and the id of the other has no token.
    void add(int32_t id, std::string_view token);
    void forget(std::string_view token);

    // Forgets all merges; no more than `merges` are then added.
    void reset_merges(int64_t merges);

    // The token `left` before the token `right` becomes one with it; what is added earlier happens earlier. False when a part
    // or the result is no token.
    bool merge(std::string_view left, std::string_view right);

    // -1 when there is no such token.
    int32_t find(std::string_view token) const;

    // One more than the highest id that has a token.
    int64_t size() const;

    // The bytes that an id stands for; none without a token. Characters of no byte stand for their own UTF-8.
    std::string bytes(int64_t id) const;

    // Appends the tokens of a piece of text. Again and again the neighbours whose merge was added first are merged, of equal
    // ones the leftmost. `whole`: a piece that is a token itself is taken as it is. Bytes without a token vanish.
    void encode(std::string_view piece, bool whole, std::vector<int32_t>& ids) const;

private:
    struct Span {
        uint32_t begin;
        int32_t length = -1;  // -1: no token
    };
    struct Merge {
        int32_t left = -1, right, rank, result;  // left -1: none here
    };
    std::string_view text(int32_t id) const;
    size_t merge_place(int32_t left, int32_t right) const;

    std::vector<char> characters_;
    std::vector<Span> spans_;         // by id
    std::vector<int32_t> by_text_;    // ids by hash; -1: none
    std::vector<Merge> merges_;       // by hash
    std::vector<int32_t> byte_ids_;   // [256], -1: no token
    int32_t merge_count_ = 0;
};

}  // namespace qwill
