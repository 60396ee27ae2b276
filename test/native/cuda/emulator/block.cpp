#include "emulator/block.hpp"

#include <algorithm>
#include <exception>
#include <numeric>
#include <string>
#include <utility>

#include "emulator/failure.hpp"
#include "emulator/tma.hpp"
#include "emulator/wgmma.hpp"

namespace block_attention::cuda::emulator {

Block* current_block = nullptr;
Thread* current_thread = nullptr;

Warp::Warp() = default;
Warp::~Warp() = default;
Warp::Warp(Warp&&) noexcept = default;

Block::Block() = default;
Block::~Block() = default;

void release(Thread& thread, Clock& into) {
  const uint32_t generation = current_block->generation;
  into.join(generation, thread.clock);
  into.see(generation, thread.id, thread.now);
  if (thread.now == UINT16_MAX) {
    fail("the emulator counts 65535 releases of a thread between two barriers of the whole block",
         thread.place);
  }
  ++thread.now;
}

void acquire(Thread& thread, const Clock& from) {
  thread.clock.join(current_block->generation, from);
}

uint32_t Block::random() {
  random_state_ ^= random_state_ << 13;
  random_state_ ^= random_state_ >> 7;
  random_state_ ^= random_state_ << 17;
  return static_cast<uint32_t>(random_state_ >> 16);
}

void Block::start_generation() {
  ++generation;
  Clock phases;
  for (uint32_t i = 0; i < thread_count(); ++i) phases.join_phases(thread(i).clock);
  for (uint32_t i = 0; i < thread_count(); ++i) {
    thread(i).now = 1;
    thread(i).clock.join_phases(phases);
  }
}

void Block::wait(const char* operation, const std::source_location& place) {
  Thread& self = *current_thread;
  self.waits_for = operation;
  self.place = place;
  warps[self.warp].ready &= ~(1u << self.lane);
  Fiber::yield();
}

void Block::wake(uint32_t id) { warps[id / kWarpSize].ready |= 1u << (id % kWarpSize); }

void Block::thread_main(void* argument) {
  Thread& self = *static_cast<Thread*>(argument);
  Block& block = *current_block;
  try {
    (*block.kernel_)();
    for (const auto& group : self.copy_groups) {
      if (!group.empty()) fail("a thread ends with this copy in flight", group.front().place);
    }
    if (!self.open_copies.empty()) {
      fail("a thread ends with this copy in flight", self.open_copies.front().place);
    }
  } catch (const KernelFailure& failure) {
    block.failure_ = failure.what;
  } catch (const std::exception& error) {
    block.failure_ = std::string("the emulator failed: ") + error.what();
  }
  self.done = true;
  --block.alive_;
  Warp& warp = block.warps[self.warp];
  warp.ready &= ~(1u << self.lane);
  warp.alive &= ~(1u << self.lane);
}

void Block::prepare() {
  first_generation = ++generation;
  shared.reset(shape.shared_bytes, generation);
  warps.clear();
  warps.resize(warp_count());
  for (Warp& warp : warps) warp.priority = random();
  barriers.fill(NamedBarrier{});
  transaction_barriers.clear();
  tma_copies.clear();
  while (threads_.size() < shape.threads) threads_.push_back(std::make_unique<Thread>());
  for (uint32_t i = 0; i < shape.threads; ++i) {
    Thread& thread = *threads_[i];
    thread.id = i;
    thread.lane = i % kWarpSize;
    thread.warp = i / kWarpSize;
    thread.done = false;
    thread.waits_for = "its start";
    thread.now = 1;
    thread.clock.forget();
    thread.fenced_generation = 0;
    thread.open_copies.clear();
    thread.copy_groups.clear();
    thread.fiber.start(&Block::thread_main, &thread);
  }
  turn_ = nullptr;
  alive_ = shape.threads;
  failure_.clear();
}

// The warp with the highest priority among those that can run. Priorities are drawn anew now and
// then: one warp runs ahead as far as barriers let it, then another.
Warp* Block::next_warp(bool new_priority) {
  if (new_priority) {
    warps[random() % warp_count()].priority = random();
    turn_ = nullptr;
  }
  if (turn_ != nullptr && turn_->ready != 0) return turn_;
  turn_ = nullptr;
  for (Warp& warp : warps) {
    if (warp.ready != 0 && (turn_ == nullptr || warp.priority > turn_->priority)) turn_ = &warp;
  }
  return turn_;
}

// The first that can run from `first` on.
void Block::run_lane(Warp& warp, uint32_t first) {
  const uint32_t from_first =
      first == 0 ? warp.ready : warp.ready >> first | warp.ready << (kWarpSize - first);
  const uint32_t lane = (static_cast<uint32_t>(__builtin_ctz(from_first)) + first) % kWarpSize;
  const auto index = static_cast<uint32_t>(&warp - warps.data());
  current_thread = threads_[index * kWarpSize + lane].get();
  ++statistics().switches;
  current_thread->fiber.resume();
}

void Block::schedule() {
  while (alive_ > 0 && failure_.empty()) {
    if (!tma_copies.empty() && (!late_copies || random() % 4096 == 0)) {
      run_tma_copy(random() % static_cast<uint32_t>(tma_copies.size()));
    }
    const uint32_t chance = random();
    Warp* warp = next_warp(chance / kWarpSize % 512 == 0);
    if (warp != nullptr) {
      run_lane(*warp, chance % kWarpSize);
    } else if (!tma_copies.empty()) {
      run_tma_copy(random() % static_cast<uint32_t>(tma_copies.size()));
    } else {
      report_deadlock();
    }
  }
  if (!failure_.empty()) throw KernelFailure{failure_};
}

void Block::report_deadlock() {
  std::string text = "deadlock:";
  for (uint32_t w = 0; w < warp_count(); ++w) {
    const Thread* waiting = nullptr;
    uint32_t waiting_lanes = 0;
    for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
      const Thread& one = thread(w * kWarpSize + lane);
      if (one.done) continue;
      if (waiting == nullptr) waiting = &one;
      ++waiting_lanes;
    }
    if (waiting == nullptr) continue;
    text += " " + std::to_string(waiting_lanes) + " lanes of warp " + std::to_string(w) +
            " wait for " + waiting->waits_for + " at " + place_text(waiting->place) + ";";
  }
  text.back() = ' ';
  throw KernelFailure{text + "(block " + std::to_string(index.x) + "," + std::to_string(index.y) +
                      "," + std::to_string(index.z) + ")"};
}

void Block::check_end() {
  if (!tma_copies.empty()) throw KernelFailure{"a block ends with bulk copies in flight"};
  check_warpgroups_at_end(*this);
}

void Block::run_block() {
  prepare();
  schedule();
  check_end();
}

void Block::run_grid(const LaunchShape& launched, uint64_t seed, bool late,
                     const std::function<void()>& kernel) {
  shape = launched;
  late_copies = late;
  kernel_ = &kernel;
  launch_generation = generation + 1;
  random_state_ = seed * 0x9e3779b97f4a7c15u + 1;
  if (random_state_ == 0) random_state_ = 1;
  for (int i = 0; i < 8; ++i) random();
  const uint64_t count = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  std::vector<uint64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  for (uint64_t i = count; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  for (const uint64_t place : order) {
    index.x = static_cast<uint32_t>(place % shape.grid.x);
    index.y = static_cast<uint32_t>(place / shape.grid.x % shape.grid.y);
    index.z = static_cast<uint32_t>(place / shape.grid.x / shape.grid.y);
    run_block();
  }
}

}  // namespace block_attention::cuda::emulator
