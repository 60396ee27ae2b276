#include "cuda/linear_weight.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "cuda/fill_random.hpp"
#include "model/stacked_shape.hpp"

namespace block_attention::cuda {
namespace {

StackedShape checked_shape(std::span<const HostMatrix> parts, std::span<const float> bias) {
  const StackedShape shape = stacked_shape(parts, bias);
  if (shape.in_features % 8 != 0) {
    throw Error(ErrorCode::kUnsupported,
                "in_features " + std::to_string(shape.in_features) +
                    " of a linear layer: the GPU kernels take multiples of 8");
  }
  return shape;
}

void convert(const void* from, DType from_type, size_t count, DType to_type, void* to) {
  char* out = static_cast<char*>(to);
  for (size_t i = 0; i < count; ++i) {
    const float value = load_as_f32(from, from_type, i);
    const uint16_t bits = to_type == DType::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
    std::memcpy(out + 2 * i, &bits, sizeof bits);
  }
}

template <typename T>
Buffer upload_values(Device& device, PinnedStaging& staging, std::span<const T> values) {
  Buffer memory = device.allocate(values.size_bytes());
  const size_t piece = staging.capacity() / sizeof(T);
  char* to = static_cast<char*>(memory.data());
  for (size_t first = 0; first < values.size(); first += piece) {
    const auto part = values.subspan(first, std::min(piece, values.size() - first));
    std::memcpy(staging.half(), part.data(), part.size_bytes());
    staging.send(to + first * sizeof(T), part.size_bytes());
  }
  staging.finish();
  return memory;
}

// The values in `element`; empty if one of them would be rounded.
std::vector<uint16_t> exact_elements(std::span<const float> values, DType element) {
  std::vector<uint16_t> bits(values.size());
  convert(values.data(), DType::kF32, values.size(), element, bits.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (load_as_f32(bits.data(), element, i) != values[i]) return {};
  }
  return bits;
}

}  // namespace

CudaLinearWeight::CudaLinearWeight(DType dtype, int64_t out_features, int64_t in_features,
                                   Buffer matrix, Buffer bias, Buffer element_bias)
    : dtype_(dtype),
      out_features_(out_features),
      in_features_(in_features),
      matrix_(std::move(matrix)),
      bias_(std::move(bias)),
      element_bias_(std::move(element_bias)) {}

PinnedStaging::PinnedStaging(Device& device, size_t half_bytes)
    : device_(device), half_bytes_(half_bytes), memory_(device.allocate_pinned(2 * half_bytes)) {}

PinnedStaging::~PinnedStaging() {
  try {
    device_.synchronize();
  } catch (const Error&) {
    // A device that failed copies no more, and has said so to whoever waited for the upload.
    half_bytes_ = 0;
  }
}

void PinnedStaging::reserve(size_t bytes) {
  if (bytes <= half_bytes_) return;
  device_.synchronize();
  memory_ = device_.allocate_pinned(2 * bytes);
  half_bytes_ = bytes;
}

void* PinnedStaging::half() const {
  return static_cast<char*>(memory_.data()) + static_cast<size_t>(turn_) * half_bytes_;
}

void PinnedStaging::send(void* to, size_t bytes) {
  // All that is on its way is the other half, and it had the time in which this one was filled.
  device_.synchronize();
  device_.upload(to, half(), bytes);
  turn_ ^= 1;
}

void PinnedStaging::finish() { device_.synchronize(); }

void* PinnedStaging::scratch(size_t bytes) {
  if (scratch_.size() < bytes) scratch_.resize(bytes);
  return scratch_.data();
}

std::unique_ptr<CudaLinearWeight> upload_linear(Device& device, PinnedStaging& staging,
                                                std::span<const HostMatrix> parts,
                                                std::span<const float> bias, DType element) {
  if (element == DType::kF32)
    throw Error(ErrorCode::kUnsupported, "weights are bf16 or f16 on a GPU, not f32");
  const StackedShape shape = checked_shape(parts, bias);
  const auto cols = static_cast<size_t>(shape.in_features);
  const size_t row_bytes = cols * dtype_size(element);
  staging.reserve(row_bytes);
  const auto piece = static_cast<int64_t>(staging.capacity() / row_bytes);
  Buffer matrix = device.allocate(static_cast<size_t>(shape.out_features) * row_bytes);
  char* to = static_cast<char*>(matrix.data());
  try {
    for (const HostMatrix& part : parts) {
      if (part.random && part.dtype == element) {
        fill_random(device, *part.random, element, to, part.rows * part.cols);
        to += static_cast<size_t>(part.rows) * row_bytes;
        continue;
      }
      for (int64_t first = 0; first < part.rows; first += piece) {
        const int64_t rows = std::min(piece, part.rows - first);
        const size_t count = static_cast<size_t>(rows) * cols;
        if (part.dtype == element) {
          part.read(first, rows, staging.half());
        } else {
          void* stored = staging.scratch(count * dtype_size(part.dtype));
          part.read(first, rows, stored);
          convert(stored, part.dtype, count, element, staging.half());
        }
        staging.send(to, count * dtype_size(element));
        to += count * dtype_size(element);
      }
    }
  } catch (...) {
    // The device may still be writing to the memory that this error gives back.
    staging.finish();
    throw;
  }
  staging.finish();
  const std::vector<uint16_t> elements = exact_elements(bias, element);
  return std::make_unique<CudaLinearWeight>(
      element, shape.out_features, shape.in_features, std::move(matrix),
      upload_values(device, staging, bias),
      upload_values(device, staging, std::span<const uint16_t>(elements)));
}

std::unique_ptr<CudaVector> upload_vector(Device& device, PinnedStaging& staging,
                                          std::span<const float> values) {
  return std::make_unique<CudaVector>(static_cast<int64_t>(values.size()),
                                      upload_values(device, staging, values));
}

}  // namespace block_attention::cuda
