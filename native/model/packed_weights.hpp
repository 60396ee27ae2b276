// int8 weights as a backend packed them, taken out of it and given back to it in another load: what
// keeping them on disk needs (packed_file.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "model/backend.hpp"

namespace block_attention {

// A packed weight is read in slices, the last one shorter, so that its bytes can be checked on
// several threads, each slice while it is in a core's cache.
inline constexpr size_t kPackedSlice = size_t{256} << 10;

// A weight without its bias.
struct PackedMatrix {
  int64_t out_features = 0;
  int64_t in_features = 0;
  // Fills in slice `index` at `out`. Called once for each, from several threads at once; may throw
  // Error.
  std::function<void(size_t index, void* out, size_t bytes)> read;
};

class PackedWeights {
 public:
  virtual ~PackedWeights() = default;
  // Names all that the meaning of the bytes depends on: equal layouts, equal weights.
  virtual std::string packed_layout() const = 0;
  // Of a weight of that shape.
  virtual size_t packed_bytes(int64_t out_features, int64_t in_features) const = 0;
  // An int8 weight that this backend made, without its bias.
  virtual std::span<const char> packed_view(const LinearWeight& weight) const = 0;
  // What make_linear() made of the matrices that `matrix` was packed from. Passes on what reading
  // throws; throws Error(kOutOfMemory).
  virtual std::unique_ptr<LinearWeight> restore_linear(const PackedMatrix& matrix,
                                                       std::span<const float> bias) = 0;
};

}  // namespace block_attention
