// CudaAttention's launches in bf16 go wherever the driver that runs says.
#pragma once

#include "cuda/attention_launch.hpp"

namespace block_attention::cuda::test {

using AttentionLauncher = void (*)(Device&, const AttentionLaunch&);
inline AttentionLauncher attention_launcher = nullptr;

}  // namespace block_attention::cuda::test
