// Places in kernels as small numbers, which the shadow of shared memory keeps.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <source_location>

namespace block_attention::cuda::emulator {

using Site = uint16_t;

// A source_location is a pointer to what the compiler wrote down for its place: a short key.
static_assert(sizeof(std::source_location) == sizeof(void*));
inline uintptr_t key_of(const std::source_location& place) {
  return std::bit_cast<uintptr_t>(place);
}

struct RecentSite {
  uintptr_t key = 0;
  Site site = 0;
};
extern std::array<RecentSite, 1024> recent_sites;

Site find_site(const std::source_location& place);
const std::source_location& place_of(Site site);

inline Site site_of(const std::source_location& place) {
  const uintptr_t key = key_of(place);
  const RecentSite& recent = recent_sites[key / 8 % recent_sites.size()];
  return recent.key == key ? recent.site : find_site(place);
}

}  // namespace block_attention::cuda::emulator
