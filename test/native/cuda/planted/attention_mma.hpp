// Runs attention with the mma.sync kernel of the namespace PLANTED.
#include "cuda/attention_launch.cuh"
#include "planted/attention_case.hpp"

namespace block_attention::cuda::PLANTED {
namespace {

template <typename Shape>
void launch_tiles(Device& device, AttentionArguments arguments, const AttentionTile* tiles,
                  int32_t count) {
  arguments.tiles = tiles;
  launch<attention_mma_kernel<Bf16, Shape>>(device, tile_grid<Shape>(arguments, count), arguments);
}

void launch_planted(Device& device, const AttentionLaunch& step) {
  launch_tiles<AttentionMmaShape<64, 4, 3, 3>>(device, step.arguments, step.many, step.counts.many);
  launch_tiles<AttentionMmaShape<64, 1, 4, 4>>(device, step.arguments, step.few, step.counts.few);
  launch_merge<Bf16>(device, step.arguments, step.merged);
}

std::string run(Device& device) {
  test::attention_launcher = launch_planted;
  return test::run_planted(device, AttentionKernel::kMma, 48);
}

}  // namespace
}  // namespace block_attention::cuda::PLANTED
