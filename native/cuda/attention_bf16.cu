#include "cuda/attention_launch.cuh"

namespace block_attention::cuda {

void launch_attention_bf16(Device& device, AttentionKernel kernel, const AttentionLaunch& launch) {
  launch_attention_of<Bf16>(device, kernel, launch);
}

}  // namespace block_attention::cuda
