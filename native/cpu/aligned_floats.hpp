// An array of float32 at a 64-byte boundary (a cache line, and the widest vector). Only ever grows;
// contents do not survive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace block_attention {

class AlignedFloats {
 public:
  float* data() const { return data_.get(); }

  // Throws std::bad_alloc.
  void reserve(int64_t count) {
    if (count <= capacity_) return;
    data_.reset();
    capacity_ = 0;
    data_.reset(
        static_cast<float*>(operator new(static_cast<size_t>(count) * sizeof(float), kAlignment)));
    capacity_ = count;
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Release {
    void operator()(float* data) const { operator delete(data, kAlignment); }
  };

  std::unique_ptr<float, Release> data_;
  int64_t capacity_ = 0;
};

}  // namespace block_attention
