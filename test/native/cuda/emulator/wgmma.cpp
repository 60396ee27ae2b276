#include "emulator/wgmma.hpp"

#include <cstring>
#include <utility>

#include "emulator/collective.hpp"
#include "emulator/failure.hpp"
#include "emulator/tensor_core.hpp"
#include "emulator/tma.hpp"

namespace block_attention::cuda {
namespace emulator {
namespace {

struct ProductArguments {
  float* d;
  const uint32_t* a;
  uint64_t descriptor_a;
  uint64_t descriptor_b;
};

// Where element (mn, k) of an operand lies. MN-major: k rows of 64 mn columns, as V is stored.
uint32_t element_address(uint64_t descriptor, bool mn_major, uint32_t mn, uint32_t k,
                         const std::source_location& place) {
  const auto field = [&](int bit) {
    return static_cast<uint32_t>(descriptor >> bit & 0x3fff) << 4;
  };
  const uint32_t start = field(0);
  const uint32_t leading = field(16);
  const uint32_t stride = field(32);
  if (descriptor >> 62 != 1) fail("wgmma: only the 128-byte swizzle is emulated", place);
  return swizzle_128(start + (mn_major
                                  ? mn / 64 * leading + k / 8 * stride + k % 8 * 128 + mn % 64 * 2
                                  : mn / 8 * stride + mn % 8 * 128 + k * 2));
}

uint32_t first_row() { return current_thread->warp % 4 * 16; }

// Calls visit(address) for all 16-byte pieces that the product reads.
template <typename Visit>
void for_operands(const WarpgroupProduct& product, Visit&& visit) {
  if (!product.registers_a) {
    for (uint32_t row = 0; row < 16; ++row) {
      for (uint32_t k = 0; k < kProductDepth; k += 8) {
        visit(element_address(product.descriptor_a, false, first_row() + row, k, product.place));
      }
    }
  }
  if (product.transposed_b) {
    for (uint32_t k = 0; k < kProductDepth; ++k) {
      for (uint32_t n = 0; n < product.cols; n += 8) {
        visit(element_address(product.descriptor_b, true, n, k, product.place));
      }
    }
  } else {
    for (uint32_t n = 0; n < product.cols; ++n) {
      for (uint32_t k = 0; k < kProductDepth; k += 8) {
        visit(element_address(product.descriptor_b, false, n, k, product.place));
      }
    }
  }
}

float shared_element(const WarpgroupProduct& product, const char* operand, uint64_t descriptor,
                     bool mn_major, uint32_t mn, uint32_t k) {
  const uint32_t address = element_address(descriptor, mn_major, mn, k, product.place);
  uint16_t bits;
  std::memcpy(&bits, current_block->shared.read_through_proxy(operand, address, 2, product.place),
              2);
  return element_value(bits, product.bf16);
}

// Lane 4 g + t holds, for column group j, columns 8 j + 2 t + c of rows g + 8 i at 4 j + 2 i + c.
template <typename Visit>
void for_accumulators(const WarpgroupProduct& product, Visit&& visit) {
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    for (uint32_t e = 0; e < product.cols / 2; ++e) {
      visit(lane, e, lane / 4 + (e >> 1 & 1) * 8, e / 4 * 8 + lane % 4 * 2 + (e & 1));
    }
  }
}

void execute(WarpgroupProduct& product) {
  for_operands(product, [](uint32_t address) { current_block->shared.end_reads(address, 16); });
  float a[16][kProductDepth];
  double b[kProductDepth][kMaxProductCols];
  double sums[16][kMaxProductCols];
  for_accumulators(product, [&](uint32_t lane, uint32_t e, uint32_t row, uint32_t col) {
    uint32_t bits;
    std::memcpy(&bits, product.d[lane] + e, 4);
    if (bits != 0xffffffffu) {
      fail("wgmma: an accumulator was touched before wgmma_wait", product.place);
    }
    sums[row][col] = product.accumulate ? double{product.before[lane][e]} : 0;
  });
  for (uint32_t row = 0; row < 16; ++row) {
    for (uint32_t k = 0; k < kProductDepth; ++k) {
      if (product.registers_a) {
        const uint32_t word = product.a[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2];
        a[row][k] = element_value(static_cast<uint16_t>(word >> (16 * (k & 1))), product.bf16);
      } else {
        a[row][k] =
            shared_element(product, "wgmma a", product.descriptor_a, false, first_row() + row, k);
      }
    }
  }
  for (uint32_t n = 0; n < product.cols; ++n) {
    for (uint32_t k = 0; k < kProductDepth; ++k) {
      b[k][n] = double{
          shared_element(product, "wgmma b", product.descriptor_b, product.transposed_b, n, k)};
    }
  }
  for (uint32_t row = 0; row < 16; ++row) {
    for (uint32_t k = 0; k < kProductDepth; ++k) {
      for (uint32_t n = 0; n < product.cols; ++n) sums[row][n] += double{a[row][k]} * b[k][n];
    }
  }
  for_accumulators(product, [&](uint32_t lane, uint32_t e, uint32_t row, uint32_t col) {
    product.d[lane][e] = static_cast<float>(sums[row][col]);
  });
}

// Products that follow on the same accumulators start from this one's result.
bool hand_on(WarpgroupProduct& done, WarpgroupProduct& next) {
  if (next.d[0] != done.d[0]) return false;
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    std::memcpy(next.before[lane].data(), done.d[lane], sizeof(float) * done.cols / 2);
    std::memset(static_cast<void*>(done.d[lane]), 0xff, sizeof(float) * done.cols / 2);
  }
  return true;
}

void execute_group(Warp& warp) {
  std::vector<WarpgroupProduct>& group = warp.product_groups.front();
  for (size_t i = 0; i < group.size(); ++i) {
    execute(group[i]);
    bool handed = false;
    for (size_t g = 0; g < warp.product_groups.size() && !handed; ++g) {
      std::vector<WarpgroupProduct>& later = warp.product_groups[g];
      for (size_t j = g == 0 ? i + 1 : 0; j < later.size() && !handed; ++j) {
        handed = hand_on(group[i], later[j]);
      }
    }
    for (size_t j = 0; j < warp.open_products.size() && !handed; ++j) {
      handed = hand_on(group[i], warp.open_products[j]);
    }
  }
  warp.product_groups.pop_front();
}

}  // namespace

void issue_product(const ProductKind& kind, float* d, const uint32_t* a, uint64_t descriptor_a,
                   uint64_t descriptor_b, const std::source_location& place) {
  ProductArguments arguments = {d, a, descriptor_a, descriptor_b};
  collective("wgmma", arguments, place, [&](Warp& warp) {
    if (!warp.registers_fenced) fail("wgmma without wgmma_fence", place);
    WarpgroupProduct product = {};
    product.bf16 = kind.bf16;
    product.accumulate = kind.accumulate;
    product.transposed_b = kind.transposed_b;
    product.cols = kind.cols;
    product.registers_a = a != nullptr;
    product.descriptor_a = descriptor_a;
    product.descriptor_b = descriptor_b;
    product.place = place;
    for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
      const auto& part = argument_of<ProductArguments>(warp, lane);
      if (part.descriptor_a != descriptor_a || part.descriptor_b != descriptor_b) {
        fail("wgmma: descriptors differ between lanes", place);
      }
      product.d[lane] = part.d;
      std::memcpy(product.before[lane].data(), part.d, sizeof(float) * kind.cols / 2);
      std::memset(static_cast<void*>(part.d), 0xff, sizeof(float) * kind.cols / 2);
      if (part.a != nullptr) std::memcpy(product.a[lane].data(), part.a, sizeof(uint32_t) * 4);
    }
    warp.issued.push_back(descriptor_a ^ descriptor_b * 31);
    for_operands(product, [&](uint32_t address) {
      current_block->shared.begin_reads("wgmma", address, 16, place);
    });
    warp.open_products.push_back(product);
  });
}

void fence_registers(const std::source_location& place) {
  int none = 0;
  collective("wgmma_fence", none, place, [](Warp& warp) { warp.registers_fenced = true; });
}

void wait_for_products(size_t pending_groups, const std::source_location& place) {
  int none = 0;
  collective("wgmma_wait", none, place, [&](Warp& warp) {
    while (warp.product_groups.size() > pending_groups) execute_group(warp);
    // The reads belong to the warp: they lie before whatever any lane does next.
    const uint32_t first = current_thread->warp * kWarpSize;
    Thread& reader = *current_thread;
    Clock reads;
    release(reader, reads);
    for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
      Thread& thread = current_block->thread(first + lane);
      thread.clock.see(current_block->generation, reader.id,
                       reads.seen(current_block->generation, reader.id));
    }
  });
}

void check_warpgroups_at_end(Block& block) {
  for (Warp& warp : block.warps) {
    if (!warp.open_products.empty() || !warp.product_groups.empty()) {
      throw KernelFailure{"a warp ends with wgmma in flight"};
    }
  }
  for (size_t group = 0; group + 3 < block.warps.size(); group += 4) {
    for (size_t i = 1; i < 4; ++i) {
      if (block.warps[group + i].issued != block.warps[group].issued) {
        throw KernelFailure{"the warps of a warpgroup issued different wgmma products"};
      }
    }
  }
}

}  // namespace emulator

void fence_proxy_async(std::source_location place) {
  emulator::Thread& self = *emulator::current_thread;
  self.place = place;
  self.fenced_generation = emulator::current_block->generation;
  self.fenced_at = self.now;
  // Stores from now on are at a later time of this thread.
  emulator::Clock unused;
  emulator::release(self, unused);
}

void wgmma_commit(std::source_location place) {
  int none = 0;
  emulator::collective("wgmma_commit", none, place, [](emulator::Warp& warp) {
    warp.product_groups.push_back(std::move(warp.open_products));
    warp.open_products.clear();
    warp.registers_fenced = false;
  });
}

}  // namespace block_attention::cuda
