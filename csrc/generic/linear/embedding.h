// Rows of the embedding table, decoded from the file's blocks.
#pragma once

#include "generic/linear/types.h"

namespace qwill { namespace QWILL_ISA_NS {

inline void embedding(const EmbeddingArgs& args, ThreadPool& pool) {
    const formats::DecodeRow decode = formats::decoder(args.type);
    const int64_t bytes = row_bytes(args.type, args.columns);
    for_rows(pool, args.tokens, args.columns, [&](int64_t t, int) {
        decode(args.table + args.ids[t] * bytes, args.columns, args.out + t * args.columns);
    });
}

}}  // namespace qwill::QWILL_ISA_NS
