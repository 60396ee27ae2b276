#include "emulator/sites.hpp"

#include <array>
#include <cstddef>
#include <map>
#include <tuple>
#include <vector>

#include "emulator/failure.hpp"

namespace block_attention::cuda::emulator {
namespace {

// File names are told apart by their pointers: a name that has several takes several numbers.
using Key = std::tuple<const char*, uint32_t, uint32_t>;

Key key_of(const std::source_location& place) {
  return {place.file_name(), place.line(), place.column()};
}

struct Table {
  std::vector<std::source_location> places;
  std::map<Key, Site> sites;
  std::array<Site, 1024> recent = {};

  Table() : places(1) {}
};

Table& table() {
  static Table table;
  return table;
}

}  // namespace

Site site_of(const std::source_location& place) {
  Table& known = table();
  const Key key = key_of(place);
  Site& recent = known.recent[(place.line() * 31 + place.column()) % known.recent.size()];
  if (recent != 0 && key_of(known.places[recent]) == key) return recent;
  const auto [entry, added] = known.sites.try_emplace(key, static_cast<Site>(known.places.size()));
  if (added) {
    if (known.places.size() > UINT16_MAX) fail("the emulator keeps 65535 places at most", place);
    known.places.push_back(place);
  }
  recent = entry->second;
  return recent;
}

const std::source_location& place_of(Site site) { return table().places[site]; }

}  // namespace block_attention::cuda::emulator
