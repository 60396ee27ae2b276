// How the rows of a product are cut: groups of nearly equal size, so that none is much slower than
// the others.
#pragma once

#include <cstdint>

namespace block_attention {

// Where group `group` of `groups` begins.
inline int64_t group_begin(int64_t rows, int64_t groups, int64_t group) {
  return group * rows / groups;
}

}  // namespace block_attention
