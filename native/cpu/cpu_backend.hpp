// The Backend on the CPU: float32 activations, the best instruction set that the machine has, one
// thread pool.
#pragma once

#include <memory>

#include "cpu/isa.hpp"
#include "model/backend.hpp"

namespace block_attention {

// threads >= 1, the engine thread included.
std::unique_ptr<Backend> make_cpu_backend(int threads, Isa isa = default_isa());

}  // namespace block_attention
