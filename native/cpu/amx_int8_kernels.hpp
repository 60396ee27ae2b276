// Products over int8 weights by AMX (int8_kernels.hpp says what of): the kernel of kAmx for more
// than a few rows.
#pragma once

#include "cpu/int8_kernels.hpp"

namespace block_attention {

#if defined(__x86_64__)
// To be run only where best_int8_dot() says kAmx.
Int8Kernels amx_int8_kernels();
#endif

}  // namespace block_attention
