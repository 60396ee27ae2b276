// Transaction barriers of sm_90: arrivals and bytes of bulk copies end a phase.
#pragma once

#include <cstdint>
#include <source_location>

#include "emulator/block.hpp"

namespace block_attention::cuda {

void mbar_init(uint32_t bar, uint32_t arrivals,
               std::source_location place = std::source_location::current());
inline void fence_mbar_init() {}
void mbar_arrive(uint32_t bar, std::source_location place = std::source_location::current());
void mbar_expect_tx(uint32_t bar, uint32_t bytes,
                    std::source_location place = std::source_location::current());
void mbar_wait(uint32_t bar, uint32_t parity,
               std::source_location place = std::source_location::current());

namespace emulator {

// Index of the barrier at this address; fails unless the running thread may use it.
uint32_t find_mbarrier(uint32_t address, const std::source_location& place);
// Ends the phase if nothing is missing.
void end_phase_if_complete(uint32_t mbarrier);

}  // namespace emulator
}  // namespace block_attention::cuda
