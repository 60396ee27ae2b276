// Places in kernels as small numbers, which the shadow of shared memory keeps.
#pragma once

#include <cstdint>
#include <source_location>

namespace block_attention::cuda::emulator {

using Site = uint16_t;

Site site_of(const std::source_location& place);
const std::source_location& place_of(Site site);

}  // namespace block_attention::cuda::emulator
