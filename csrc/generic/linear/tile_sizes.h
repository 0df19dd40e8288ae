// How many tokens the tile kernels of an instruction set multiply together, and how they do.
#pragma once

namespace qwill { namespace QWILL_ISA_NS {

// Full tiles from which a panel is unfolded first (unfolded.h); 0: never.
#if defined(__AVX512F__)
constexpr int kTileTokens = 8, kUnfoldTiles = 6;
#elif defined(__AVX2__)
constexpr int kTileTokens = 4, kUnfoldTiles = 12;
#elif defined(__ARM_FEATURE_MATMUL_INT8)
constexpr int kTileTokens = 4, kUnfoldTiles = 4;
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr int kTileTokens = 4, kUnfoldTiles = 0;
#else
constexpr int kTileTokens = 2, kUnfoldTiles = 0;
#endif

// Whether full tiles of int8 are multiplied by an instruction for small matrices (matrix_tile.h).
#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr bool kMatrixProducts = true;
#else
constexpr bool kMatrixProducts = false;
#endif

}}  // namespace qwill::QWILL_ISA_NS
