#include "emulator/sites.hpp"

#include <unordered_map>
#include <vector>

#include "emulator/failure.hpp"

namespace block_attention::cuda::emulator {
namespace {

struct Table {
  std::vector<std::source_location> places{1};
  std::unordered_map<uintptr_t, Site> sites;
};

Table& table() {
  static Table table;
  return table;
}

}  // namespace

std::array<RecentSite, 1024> recent_sites;

Site find_site(const std::source_location& place) {
  Table& known = table();
  const uintptr_t key = key_of(place);
  const auto [entry, added] = known.sites.try_emplace(key, static_cast<Site>(known.places.size()));
  if (added) {
    if (known.places.size() > UINT16_MAX) fail("the emulator keeps 65535 places at most", place);
    known.places.push_back(place);
  }
  recent_sites[key / 8 % recent_sites.size()] = {key, entry->second};
  return entry->second;
}

const std::source_location& place_of(Site site) { return table().places[site]; }

}  // namespace block_attention::cuda::emulator
