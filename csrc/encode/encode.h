// Float rows to stored blocks: what every encoder of this folder is given and gives back.
//
// An encoder minimises the weighted squared error sum(weight * (value - decoded value)^2) of a block. The weights are those
// of its columns, the same in every row, 1 on average and never 0: the importance (mean square of what the column is multiplied
// by) mixed with a share that all columns have alike, since it was measured on some text only. Values are finite. Q3_K weighs a
// value by its size too (k_scale.h).
//
// There are two kinds of encoders, found by overloading on the block's type:
//   void encode(const float* values, const float* weights, Block& block)       one block: Block::elements values and weights
//   void encode(const Tile<n>& tile, const float* weights, Block* blocks)      sixteen blocks at once, one in each lane of a
//       vector (encode/tile.h): the same columns of sixteen rows, so that weights are the same in all lanes
//
// Bytes are the same on every ISA level: no fma (the scalar level rounds twice in it), no sums across lanes in an order of
// their own, square roots and divisions only, which IEEE rounds exactly.
#pragma once

namespace qwill { namespace QWILL_ISA_NS { namespace encode {

// Of a column's weight. What Q3_K gives up for weighing by size leaves less room for it.
constexpr double kEvenShare = 0.2, kQ3EvenShare = 0.07;

}}}  // namespace qwill::QWILL_ISA_NS::encode
