#include "cuda/attention_launch.hpp"

#include <cstdlib>
#include <string>

#include "core/error.hpp"

namespace block_attention::cuda {

bool has_attention_kernel(const DeviceProperties& device, AttentionKernel kernel,
                          int32_t head_dim) {
  if (kernel != AttentionKernel::kWgmma) return true;
  // PTX for later cards does not hold wgmma. Smaller heads would be padded to twice their size, and
  // a head of 256 leaves no room.
  return device.compute_capability == 90 && head_dim >= 64 && head_dim <= 128;
}

AttentionKernel chosen_attention_kernel(const DeviceProperties& device, int32_t head_dim) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment meanwhile.
  const char* asked = std::getenv("BLOCK_ATTENTION_CUDA_ATTENTION");
  const std::string name = asked == nullptr ? "" : asked;
  if (name.empty() || name == "mma") return AttentionKernel::kMma;
  const std::string value = "BLOCK_ATTENTION_CUDA_ATTENTION=" + name;
  if (name != "wgmma") {
    throw Error(ErrorCode::kUnsupported, value + ": there are mma and wgmma");
  }
  if (!has_attention_kernel(device, AttentionKernel::kWgmma, head_dim)) {
    throw Error(ErrorCode::kUnsupported,
                value + ": on compute capability 9.0 alone, for a head_dim from 64 to 128; here " +
                    device.name + " and " + std::to_string(head_dim));
  }
  return AttentionKernel::kWgmma;
}

TileRows attention_tile_rows(AttentionKernel kernel, int32_t head_dim) {
  if (kernel == AttentionKernel::kWgmma) return {16, 128};
  return {16, head_dim <= 128 ? 64 : 32};
}

void launch_attention(Device& device, DType dtype, AttentionKernel kernel,
                      const AttentionLaunch& launch) {
  if (dtype == DType::kBF16) return launch_attention_bf16(device, kernel, launch);
  launch_attention_f16(device, kernel, launch);
}

}  // namespace block_attention::cuda
