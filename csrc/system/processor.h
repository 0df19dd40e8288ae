// What the processor can do and the operating system lets programs use.
#pragma once

namespace qwill {

#if defined(__x86_64__)
// With FMA and conversions of half floats.
bool has_avx2();
// The foundation with BW, DQ, VL and VNNI.
bool has_avx512();
bool has_avx512_bf16();
#elif defined(__aarch64__)
// Four products of bytes to a lane (ARMv8.2's SDOT and UDOT).
bool has_dot_product();
// Products of matrices of bytes (SMMLA).
bool has_int8_matrix_product();
#endif

}  // namespace qwill
