#include "emulator/failure.hpp"

#include "emulator/block.hpp"

namespace block_attention::cuda::emulator {

std::string place_text(const std::source_location& place) {
  const std::string file = place.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(place.line());
}

void fail(const std::string& what, const std::source_location& place) {
  const Grid& block = current_block->index;
  throw KernelFailure{place_text(place) + ": " + what + " (thread " +
                      std::to_string(current_thread->id) + ", block " + std::to_string(block.x) +
                      "," + std::to_string(block.y) + "," + std::to_string(block.z) + ")"};
}

}  // namespace block_attention::cuda::emulator
