// attention_bench [--isa NAME] [--threads N] [--head-dim D] [--kv-heads H] [--group G]
//                 [--dtype bf16|f32] [--rounds R] [--case TEXT]
//
// GFLOP/s and GB/s of attention for block encoding, the final block and decoding, beside limits
// measured in the same run: multiply-adds on registers (of bf16 over bf16 pages, where the CPU has
// them, and in tiles where it has those, though they multiply only heads of a multiple of 32 dims),
// `linear` with 512 rows, and the fastest streaming read. `floor` is the least time that these
// limits allow (the larger of bytes / read and operations / peak) over the time measured.
// Contenders take turns in rounds and each counts with its fastest, since noise only ever adds
// time. KV states are rotated through more than 256 MB, as a model's layers are.
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "attention_case.hpp"
#include "cpu/attention.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/isa.hpp"
#include "cpu/linear.hpp"
#include "cpu/linear_weight.hpp"
#include "cpu/thread_pool.hpp"
#include "options.hpp"
#include "peak_products.hpp"
#include "stream_read.hpp"

namespace block_attention {
namespace {

struct Options {
  Isa isa = default_isa();
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int32_t head_dim = 128;
  int32_t kv_heads = 4;
  int32_t group = 4;
  DType dtype = DType::kBF16;
  int rounds = 30;
  std::string only;
};

constexpr AttentionCase kCases[] = {
    {"block encoding 512", 1, 512, 0, 1},
    {"block encoding 4 x 128", 4, 128, 0, 1},
    {"block encoding 2048", 1, 2048, 0, 1},
    {"final block 50 x 1K", 1, 50, 1024, 256},
    {"final block 50 x 4K", 1, 50, 4096, 256},
    {"final block 50 x 4K, 200-token blocks", 1, 50, 4000, 200},
    {"final block 50 x 4K, 100-token blocks", 1, 50, 4000, 100},
    {"final block 50 x 16K", 1, 50, 16384, 512},
    {"final block 50 x 32K", 1, 50, 32768, 512},
    {"final block 50 x 32K, 200-token blocks", 1, 50, 32000, 200},
    {"decode 1K", 1, 1, 1024, 256},
    {"decode 4K", 1, 1, 4096, 256},
    {"decode 32K", 1, 1, 32768, 512},
    {"8 decodes 4K, shared", 8, 1, 4096, 256, true},
};

constexpr double kRotation = 256e6;

// With one thread its CPU time, which a busy machine disturbs less; else wall time.
double now(int threads) {
  timespec time = {};
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// The fastest of options.rounds calls of each contender, seconds.
std::vector<double> compete(const std::vector<std::function<void()>>& contenders,
                            const Options& options) {
  std::vector<double> best(contenders.size(), 1e30);
  for (int round = -1; round < options.rounds; ++round) {
    for (size_t i = 0; i < contenders.size(); ++i) {
      const double start = now(options.threads);
      contenders[i]();
      if (round >= 0) best[i] = std::min(best[i], now(options.threads) - start);
    }
  }
  return best;
}

struct Limits {
  double peak = 0;    // operations per second
  double linear = 0;  // operations per second
  double read = 0;    // bytes per second
};

Limits measure_limits(ThreadPool& pool, const Options& options) {
  constexpr int64_t kPeakRounds = 20000;
  constexpr int64_t kSize = 2048;
  constexpr int64_t kRows = 512;
  constexpr size_t kReadBytes = size_t{256} << 20;
  constexpr size_t kChunk = size_t{1} << 20;
  std::atomic<uint32_t> sink = 0;
  const Buffer memory = allocate_host_memory(kReadBytes);
  std::fill_n(static_cast<uint32_t*>(memory.data()), kReadBytes / 4, 1u);

  const std::vector<uint16_t> source(kSize * kSize, 0x3f80);
  const HostMatrix matrix{source.data(), DType::kBF16, kSize, kSize};
  const auto weight = pack_linear(pool, options.isa, {&matrix, 1}, {});
  LinearOp op(pool, options.isa);
  std::vector<float> x(kRows * kSize, 0.5f);
  std::vector<float> out(kRows * kSize);

  std::vector<std::function<void()>> contenders;
  const PeakProducts peak =
      peak_products(options.isa, options.dtype == DType::kBF16 ? Product::kBF16 : Product::kF32);
  contenders.emplace_back([&] {
    pool.run(options.threads,
             [&](int64_t, int) { sink.fetch_xor(static_cast<uint32_t>(peak.run(kPeakRounds))); });
  });
  contenders.emplace_back([&] {
    op.run({x.data(), DType::kF32, kRows, kSize, kSize}, *weight,
           {out.data(), DType::kF32, kRows, kSize, kSize});
  });
  size_t next = 0;
  constexpr size_t kReadOnce = size_t{64} << 20;
  for (const StreamRead& kernel : stream_reads(options.isa)) {
    contenders.emplace_back([&, kernel] {
      const char* data = static_cast<const char*>(memory.data()) + next;
      next = (next + kReadOnce) % kReadBytes;
      pool.run(kReadOnce / kChunk, [&](int64_t task, int) {
        sink.fetch_xor(kernel.read(data + static_cast<size_t>(task) * kChunk, kChunk));
      });
    });
  }
  const std::vector<double> seconds = compete(contenders, options);
  Limits limits;
  limits.peak = peak.flops_per_round * kPeakRounds * options.threads / seconds[0];
  limits.linear = 2.0 * kRows * kSize * kSize / seconds[1];
  limits.read = kReadOnce / *std::min_element(seconds.begin() + 2, seconds.end());
  return limits;
}

void run_case(ThreadPool& pool, const Options& options, const Limits& limits,
              const AttentionCase& c) {
  const AttentionConfig config = llama_attention(options.kv_heads, options.group, options.head_dim);
  CpuAttention attention(pool, options.isa, config);
  const CaseStep made(c);
  const Step& step = made.step();
  const double bytes = 2.0 * options.kv_heads * options.head_dim *
                       static_cast<double>(dtype_size(options.dtype)) *
                       static_cast<double>(made.keys());
  const auto layers = static_cast<int32_t>(std::clamp(kRotation / bytes + 1, 2.0, 400.0));

  CpuKvStorage kv({layers, options.kv_heads, options.head_dim, options.dtype}, made.pages());
  const size_t values =
      kv.page_bytes() * static_cast<size_t>(made.pages()) / dtype_size(options.dtype);
  for (size_t i = 0; i < values; ++i) {
    const float value = static_cast<float>(i * 2654435761u % 1024) * 0x1p-10f - 0.5f;
    if (options.dtype == DType::kBF16) {
      static_cast<uint16_t*>(kv.k(0, 0, 0))[i] = f32_to_bf16(value);
    } else {
      static_cast<float*>(kv.k(0, 0, 0))[i] = value;
    }
  }

  const int32_t rows = made.rows();
  const int64_t cols = int64_t{config.num_heads} * config.head_dim;
  // As a step's activations lie: at cache lines.
  const auto size = static_cast<size_t>(rows * cols);
  const Buffer q = allocate_host_memory(size * sizeof(float));
  for (size_t i = 0; i < size; ++i)
    static_cast<float*>(q.data())[i] = static_cast<float>(i * 2654435761u % 997) / 997 - 0.5f;
  const Buffer out = allocate_host_memory(size * sizeof(float));
  const Tensor q_view = {q.data(), DType::kF32, rows, cols, cols};
  const Tensor out_view = {out.data(), DType::kF32, rows, cols, cols};

  const double flops =
      4.0 * options.head_dim * config.num_heads * static_cast<double>(made.pairs());

  using Mode = AttentionTasks::Mode;
  AttentionTasks plans[3];
  std::vector<std::function<void()>> contenders;
  int32_t layer = 0;
  for (Mode mode : {Mode::kAuto, Mode::kFold, Mode::kSplit}) {
    AttentionTasks& plan = plans[static_cast<int>(mode)];
    attention.plan(step, plan, mode);
    contenders.emplace_back([&] {
      attention.run(q_view, plan, layer, kv, 0, out_view);
      layer = (layer + 1) % layers;
    });
  }
  AttentionTasks plan;
  contenders.emplace_back([&] { attention.plan(step, plan); });
  const std::vector<double> seconds = compete(contenders, options);
  const double floor = std::max(flops / limits.peak, bytes / limits.read);
  std::printf("%-38s %9.1f %7.0f%% %7.0f%% %7.1f %6.0f%% %6.0f%% %9.0f %9.0f %7.1f\n", c.name,
              flops / seconds[0] / 1e9, 100 * flops / seconds[0] / limits.peak,
              100 * flops / seconds[0] / limits.linear, bytes / seconds[0] / 1e9,
              100 * bytes / seconds[0] / limits.read, 100 * floor / seconds[0], seconds[1] * 1e6,
              seconds[2] * 1e6, seconds[3] * 1e6);
  std::fflush(stdout);
}

void bench(const Options& options) {
  ThreadPool pool(options.threads);
  const Limits limits = measure_limits(pool, options);
  std::printf("attention, head_dim %d, %d kv heads x group %d, %s, %s, %d threads\n",
              options.head_dim, options.kv_heads, options.group, dtype_name(options.dtype),
              isa_name(options.isa), options.threads);
  std::printf("limits: peak %.0f GFLOP/s, linear %.0f GFLOP/s, read %.1f GB/s\n", limits.peak / 1e9,
              limits.linear / 1e9, limits.read / 1e9);
  std::printf("%-38s %9s %8s %8s %7s %7s %7s %9s %9s %7s\n", "", "GFLOP/s", "of peak", "of lin.",
              "GB/s", "of read", "floor", "fold us", "split us", "plan us");
  for (const AttentionCase& c : kCases) {
    if (std::string(c.name).find(options.only) != std::string::npos)
      run_case(pool, options, limits, c);
  }
}

Options parse(int argc, char** argv) {
  Options options;
  parse_options(argc, argv,
                {
                    {"--isa", set_isa(options.isa)},
                    {"--threads", set_integer(options.threads)},
                    {"--head-dim", set_integer(options.head_dim)},
                    {"--kv-heads", set_integer(options.kv_heads)},
                    {"--group", set_integer(options.group)},
                    {"--dtype", set_dtype(options.dtype)},
                    {"--rounds", set_integer(options.rounds)},
                    {"--case", set_text(options.only)},
                });
  return options;
}

}  // namespace
}  // namespace block_attention

int main(int argc, char** argv) {
  block_attention::bench(block_attention::parse(argc, argv));
  return 0;
}
