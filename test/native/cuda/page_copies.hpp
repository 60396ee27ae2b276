// Random copies between pages of a pool on the device, compared byte by byte.
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda/kv_storage.hpp"
#include "device_array.hpp"
#include "model/step.hpp"
#include "support.hpp"

namespace block_attention::cuda::test {

// Parts of a page that take less than a pass of a block, one, and some.
inline const std::vector<KvShape> kCopiedShapes = {{3, 2, 16, DType::kBF16},
                                                   {2, 1, 64, DType::kF16},
                                                   {2, 3, 80, DType::kBF16},
                                                   {1, 2, 256, DType::kF16}};

using CopyPages =
    std::function<void(Device&, const PageCopy* copies, size_t count, CudaKvStorage& kv)>;

inline std::string wrong_copies(Device& device, const KvShape& shape, const CopyPages& copy_pages) {
  constexpr PageId kPages = 19;
  constexpr PageId kSources = 8;
  block_attention::test::Random random(313);
  CudaKvStorage kv(device, shape, kPages);
  const KvView view = kv.view();
  const size_t page_bytes = kv.page_bytes();
  std::vector<unsigned char> expected(page_bytes * kPages);
  for (unsigned char& byte : expected) byte = static_cast<unsigned char>(random.bits());
  write_device(device, view.data, expected.data(), expected.size());

  std::vector<PageCopy> copies;
  for (PageId to = kSources; to < kPages - 1; ++to) {
    copies.push_back({static_cast<PageId>(random.between(0, kSources - 1)), to,
                      static_cast<int32_t>(random.between(1, kPageTokens))});
  }
  copies.front().tokens = kPageTokens;
  copies.back().tokens = 0;
  const DeviceArray<PageCopy> uploaded(device, copies);
  copy_pages(device, uploaded.data(), copies.size(), kv);

  const auto slot_bytes = static_cast<size_t>(shape.head_dim) * dtype_size(shape.dtype);
  const size_t part_bytes = kPageTokens * slot_bytes;
  for (const PageCopy& copy : copies) {
    const auto from = static_cast<size_t>(copy.from) * page_bytes;
    const auto to = static_cast<size_t>(copy.to) * page_bytes;
    for (size_t part = 0; part < page_bytes; part += part_bytes) {
      std::memcpy(expected.data() + to + part, expected.data() + from + part,
                  static_cast<size_t>(copy.tokens) * slot_bytes);
    }
  }
  std::vector<unsigned char> got(expected.size());
  read_device(device, got.data(), view.data, got.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected[i]) continue;
    return "wrong value in page " + std::to_string(i / page_bytes) + " at byte " +
           std::to_string(i % page_bytes);
  }
  return "";
}

}  // namespace block_attention::cuda::test
