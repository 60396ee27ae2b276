// XXH64, the 64-bit hash of https://github.com/Cyan4973/xxHash (doc/xxhash_spec.md): several GB/s,
// to notice bytes that changed by accident. It is no defence against whoever changes them on
// purpose.
#pragma once

#include <cstddef>
#include <cstdint>

namespace block_attention {

uint64_t xxh64(const void* data, size_t bytes, uint64_t seed = 0);

}  // namespace block_attention
