// How many times operator new was called in this process (the test executable replaces it): for
// tests that nothing allocates after warm-up.
#pragma once

#include <cstdint>

namespace block_attention::test {

uint64_t allocation_count();

}  // namespace block_attention::test
