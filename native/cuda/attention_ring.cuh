// The ring of slots through which keys and values come to a block.
#pragma once

#include "cuda/primitives.cuh"

namespace block_attention::cuda {

// A place in a ring of Shape::kSlots slots, and how often the ring has been around (of that,
// whether it is odd: the parity of a barrier's phase).
template <typename Shape>
struct RingPlace {
  uint32_t ring;
  uint32_t slot;
  uint32_t turn;

  DEVICE_FN static RingPlace begin(uint32_t ring) { return {ring, ring, 0}; }
  DEVICE_FN uint32_t index() const { return (slot - ring) / Shape::kSlotBytes; }
  DEVICE_FN void advance() {
    slot += Shape::kSlotBytes;
    if (slot != ring + Shape::kRingBytes) return;
    slot = ring;
    turn ^= 1;
  }
};

}  // namespace block_attention::cuda
