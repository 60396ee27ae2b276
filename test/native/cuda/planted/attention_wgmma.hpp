// Runs attention with the wgmma kernel of the namespace PLANTED; few rows take the library's.
#include "cuda/attention_launch.cuh"
#include "planted/attention_case.hpp"

namespace block_attention::cuda::PLANTED {
namespace {

void launch_planted(Device& device, const AttentionLaunch& step) {
  AttentionArguments arguments = step.arguments;
  const TensorMap keys = pool_map(step);
  using Many = AttentionWgmmaShape<128, 2, 3, 40, 232>;
  arguments.tiles = step.many;
  launch<attention_wgmma_kernel<Bf16, Many>>(device, tile_grid<Many>(arguments, step.counts.many),
                                             arguments, keys);
  launch_bulk_tiles<Bf16, 128>(device, step, keys);
  launch_merge<Bf16>(device, step.arguments, step.merged);
}

std::string run(Device& device) {
  test::attention_launcher = launch_planted;
  return test::run_planted(device, AttentionKernel::kWgmma, 80);
}

}  // namespace
}  // namespace block_attention::cuda::PLANTED
