#include "emulator/tma.hpp"

#include <cstring>
#include <string>

#include "emulator/block.hpp"
#include "emulator/failure.hpp"
#include "emulator/mbarrier.hpp"
#include "emulator/regions.hpp"

namespace block_attention::cuda {
namespace {

constexpr uint32_t kPiece = 16;
constexpr uint32_t kPieceElements = kPiece / 2;

// Calls visit(address, x, y, z) for the 16-byte pieces of the box, coordinates within it.
template <typename Visit>
void for_pieces(const TensorMap& map, uint32_t to, Visit&& visit) {
  const uint32_t across = map.box[0] / kPieceElements;
  const uint32_t deep = map.rank > 2 ? map.box[2] : 1;
  for (uint32_t i = 0; i < across * map.box[1] * deep; ++i) {
    const uint32_t address = to + i * kPiece;
    visit(map.swizzle_128 ? emulator::swizzle_128(address) : address, i % across * kPieceElements,
          i / across % map.box[1], i / across / map.box[1]);
  }
}

void start(uint32_t to, const TensorMap* map, int x, int y, int z, uint32_t bar,
           const std::source_location& place) {
  if (to % (map->swizzle_128 ? 1024 : 128) != 0) {
    emulator::fail("TMA: misaligned shared address", place);
  }
  if (map->swizzle_128 && map->box[0] * 2 > 128) {
    emulator::fail("TMA: an inner box of more than the 128 bytes of its swizzle", place);
  }
  emulator::Block& block = *emulator::current_block;
  const uint32_t mbarrier = emulator::find_mbarrier(bar, place);
  for_pieces(*map, to, [&](uint32_t address, uint32_t, uint32_t, uint32_t) {
    std::memset(block.shared.begin_copy("TMA", address, kPiece, kPiece, place), 0xff, kPiece);
  });
  block.tma_copies.push_back({to, *map, {x, y, z}, mbarrier, place});
}

bool inside(int64_t at, uint32_t size) { return at >= 0 && at < int64_t{size}; }

}  // namespace

void emulator::run_tma_copy(uint32_t index) {
  Block& block = *current_block;
  const TmaCopy copy = block.tma_copies[index];
  block.tma_copies.erase(block.tma_copies.begin() + index);
  const TensorMap& map = copy.map;
  // A bulk copy runs outside of any thread: what it may read is checked here, not by check_global.
  TransactionBarrier& barrier = block.transaction_barriers[copy.mbarrier];
  for_pieces(map, copy.to, [&](uint32_t address, uint32_t x, uint32_t y, uint32_t z) {
    uint16_t piece[kPieceElements] = {};
    const int64_t gy = copy.at[1] + int64_t{y};
    const int64_t gz = map.rank > 2 ? copy.at[2] + int64_t{z} : 0;
    for (uint32_t i = 0; i < kPieceElements; ++i) {
      const int64_t gx = copy.at[0] + int64_t{x} + i;
      if (!inside(gx, map.size[0]) || !inside(gy, map.size[1])) continue;
      if (map.rank > 2 && !inside(gz, map.size[2])) continue;
      const char* from = static_cast<const char*>(map.data) + gx * 2 +
                         gy * static_cast<int64_t>(map.stride_bytes[1]) +
                         gz * static_cast<int64_t>(map.stride_bytes[2]);
      if (!device_memory().contain(from, 2)) {
        throw KernelFailure{place_text(copy.place) + ": TMA: global address out of bounds"};
      }
      std::memcpy(&piece[i], from, 2);
    }
    std::memcpy(block.shared.at(address), piece, kPiece);
    block.shared.end_copy(address, kPiece, copy.mbarrier, barrier.phase + 1);
    barrier.bytes -= kPiece;
  });
  end_phase_if_complete(copy.mbarrier);
}

void tma_load_2d(uint32_t to, const TensorMap* map, int x, int y, uint32_t bar,
                 std::source_location place) {
  start(to, map, x, y, 0, bar, place);
}

void tma_load_3d(uint32_t to, const TensorMap* map, int x, int y, int z, uint32_t bar,
                 std::source_location place) {
  start(to, map, x, y, z, bar, place);
}

}  // namespace block_attention::cuda
