// cuda_bench [--head-dim D] [--kv-heads H] [--group G] [--kernel mma|wgmma|plain] [--rounds R]
//            [--case TEXT] [--short 1] [--limits 1]
//
// --case: attention of these cases alone. --kernel: of attention, mma unless said.
// What the GPU's linear layers and attention reach, beside limits measured in the same run: the
// bandwidth of a copy in device memory, and the fastest matrix product. The shapes are those of
// Llama-3.1-8B unless said, in bf16, with random data. Contenders take turns in rounds and each
// counts with its fastest, since noise only ever adds time; a round is as many calls as fill 2 ms,
// put on the stream without a wait in between, over KV states and weights that are rotated through
// more than the L2 cache.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "attention_case.hpp"
#include "core/error.hpp"
#include "cuda/attention.hpp"
#include "cuda/device.hpp"
#include "cuda/fill_random.hpp"
#include "cuda/kv_storage.hpp"
#include "cuda/linear.hpp"
#include "cuda/linear_weight.hpp"
#include "cuda/step_arena.hpp"
#include "options.hpp"

namespace block_attention::cuda {
namespace {

struct Options {
  int32_t head_dim = 128;
  int32_t kv_heads = 8;
  int32_t group = 4;
  int rounds = 10;
  bool limits_only = false;
  bool few = false;  // tiny shapes: that it runs, not how fast
  std::string only;
  AttentionKernel kernel = AttentionKernel::kMma;
};

constexpr AttentionCase kCases[] = {
    {"block encoding 64 x 512", 64, 512, 0, 1},
    {"block encoding 8 x 2048", 8, 2048, 0, 1},
    {"block encoding 8192", 1, 8192, 0, 1},
    {"final block 50 x 1K", 1, 50, 1024, 256},
    {"final block 50 x 4K", 1, 50, 4096, 256},
    {"final block 50 x 4K, 100-token blocks", 1, 50, 4000, 100},
    {"final block 50 x 32K", 1, 50, 32768, 512},
    {"final block 50 x 32K, 200-token blocks", 1, 50, 32600, 200},
    {"8 final blocks 50 x 32K", 8, 50, 32768, 512},
    {"chunk of 512 behind 16K", 1, 512, 16384, 16384},
    {"decode 4K", 1, 1, 4096, 256},
    {"decode 32K", 1, 1, 32768, 512},
    {"64 decodes 4K", 64, 1, 4096, 256},
    {"64 decodes 4K, shared", 64, 1, 4096, 256, true},
    {"256 decodes 1K", 256, 1, 1024, 256},
};
constexpr AttentionCase kShortCases[] = {
    {"block encoding 2 x 20", 2, 20, 0, 1},
    {"final block 5 x 64", 1, 5, 64, 32},
    {"3 decodes 64, shared", 3, 1, 64, 32, true},
};

constexpr double kRotation = 512e6;

// The fastest of `rounds` turns of each contender, seconds a call.
std::vector<double> compete(Device& device, const std::vector<std::function<void()>>& contenders,
                            const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [&](const std::function<void()>& call, int calls) {
    device.synchronize();
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    device.synchronize();
    return std::chrono::duration<double>(Clock::now() - start).count() / calls;
  };
  std::vector<int> calls;
  for (const auto& contender : contenders) {
    seconds(contender, 1);  // what comes first only: modules, workspaces
    calls.push_back(
        options.few ? 1 : std::clamp(static_cast<int>(0.002 / seconds(contender, 3)), 1, 2000));
  }
  std::vector<double> best(contenders.size(), 1e30);
  for (int round = 0; round < options.rounds; ++round) {
    for (size_t i = 0; i < contenders.size(); ++i)
      best[i] = std::min(best[i], seconds(contenders[i], calls[i]));
  }
  return best;
}

// `bytes` of random bf16 on the device.
Buffer random_memory(Device& device, size_t bytes) {
  Buffer memory = device.allocate(bytes);
  fill_random(device, {1, 1.0f}, DType::kBF16, memory.data(), static_cast<int64_t>(bytes / 2));
  device.synchronize();
  return memory;
}

std::vector<std::unique_ptr<CudaLinearWeight>> random_weights(Device& device, int64_t outputs,
                                                              int64_t inputs,
                                                              const Options& options) {
  const double bytes = 2.0 * static_cast<double>(outputs * inputs);
  const int count =
      options.few ? 2 : static_cast<int>(std::clamp(kRotation / bytes + 1, 2.0, 64.0));
  HostMatrix matrix([](int64_t, int64_t, void*) {}, DType::kBF16, outputs, inputs);
  matrix.random = RandomValues{3, 0.05f};  // made on the device: nothing is read
  PinnedStaging staging(device, 4096);
  std::vector<std::unique_ptr<CudaLinearWeight>> weights;
  for (int i = 0; i < count; ++i)
    weights.push_back(upload_linear(device, staging, {&matrix, 1}, {}, DType::kBF16));
  return weights;
}

struct Limits {
  double copy = 0;  // bytes read and written per second
  double gemm = 0;  // operations per second
};

Limits measure_limits(Device& device, CudaLinear& fast, CudaLinear& own, const Options& options) {
  const size_t bytes = options.few ? size_t{1} << 12 : size_t{1} << 30;
  const int64_t size = options.few ? 64 : 8192;
  Limits limits;
  {
    const Buffer from = random_memory(device, bytes);
    const Buffer to = device.allocate(bytes);
    const auto copy = [&] { device.copy(to.data(), from.data(), bytes); };
    limits.copy = 2.0 * static_cast<double>(bytes) / compete(device, {copy}, options)[0];
  }
  const auto weights = random_weights(device, size, size, options);
  const Buffer x = random_memory(device, static_cast<size_t>(size * size) * 2);
  const Buffer out = device.allocate(static_cast<size_t>(size * size) * 2);
  const Tensor in = {x.data(), DType::kBF16, size, size, size};
  const Tensor to = {out.data(), DType::kBF16, size, size, size};
  const std::vector<double> seconds = compete(
      device, {[&] { fast.run(in, *weights[0], to); }, [&] { own.run(in, *weights[0], to); }},
      options);
  limits.gemm = 2.0 * std::pow(static_cast<double>(size), 3) /
                *std::min_element(seconds.begin(), seconds.end());
  return limits;
}

void bench_linear(Device& device, CudaLinear& fast, CudaLinear& own, const Limits& limits,
                  const Options& options) {
  struct Shape {
    int64_t outputs;
    int64_t inputs;
  };
  const std::vector<Shape> shapes =
      options.few ? std::vector<Shape>{{64, 64}}
                  : std::vector<Shape>{
                        {6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}, {128256, 4096}};
  const std::vector<int64_t> row_counts =
      options.few ? std::vector<int64_t>{1, 17} : std::vector<int64_t>{1, 8, 50, 512, 2048};
  std::printf("linear, bf16, %s against own GEMM (mma.sync)\n", fast.description().c_str());
  std::printf("%-28s %9s %8s %8s %8s %10s %9s\n", "", "TFLOP/s", "of GEMM", "GB/s", "of copy",
              "own TF/s", "own/fast");
  for (const Shape& shape : shapes) {
    const auto weights = random_weights(device, shape.outputs, shape.inputs, options);
    for (const int64_t rows : row_counts) {
      const Buffer x = random_memory(device, static_cast<size_t>(rows * shape.inputs) * 2);
      const Buffer out = device.allocate(static_cast<size_t>(rows * shape.outputs) * 2);
      const Tensor in = {x.data(), DType::kBF16, rows, shape.inputs, shape.inputs};
      const Tensor to = {out.data(), DType::kBF16, rows, shape.outputs, shape.outputs};
      size_t next = 0;
      const auto weight = [&]() -> const CudaLinearWeight& {
        next = (next + 1) % weights.size();
        return *weights[next];
      };
      const std::vector<double> seconds =
          compete(device, {[&] { fast.run(in, weight(), to); }, [&] { own.run(in, weight(), to); }},
                  options);
      const double flops = 2.0 * static_cast<double>(rows * shape.outputs * shape.inputs);
      const double bytes = 2.0 * static_cast<double>(shape.outputs * shape.inputs);
      const std::string name = std::to_string(shape.outputs) + " x " +
                               std::to_string(shape.inputs) + ", " + std::to_string(rows) + " rows";
      std::printf("%-28s %9.1f %7.0f%% %8.0f %7.0f%% %10.1f %9.2f\n", name.c_str(),
                  flops / seconds[0] / 1e12, 100 * flops / seconds[0] / limits.gemm,
                  bytes / seconds[0] / 1e9, 100 * bytes / seconds[0] / limits.copy,
                  flops / seconds[1] / 1e12, seconds[0] / seconds[1]);
      std::fflush(stdout);
    }
  }
}

void bench_case(Device& device, const Options& options, const Limits& limits,
                const AttentionCase& c) {
  const AttentionConfig config = llama_attention(options.kv_heads, options.group, options.head_dim);
  StepArena arena(device);
  CudaAttention attention(device, arena, config, options.kernel);
  const CaseStep made(c);
  const double bytes = 4.0 * options.kv_heads * options.head_dim * static_cast<double>(made.keys());
  const auto layers =
      options.few ? 2 : static_cast<int32_t>(std::clamp(kRotation / bytes + 1, 2.0, 64.0));
  const CudaKvStorage kv(device, {layers, options.kv_heads, options.head_dim, DType::kBF16},
                         made.pages());
  fill_random(device, {2, 1.0f}, DType::kBF16, kv.view().data,
              kv.view().page_bytes / 2 * made.pages());
  const int64_t cols = int64_t{config.num_heads} * config.head_dim;
  const Buffer q = random_memory(device, static_cast<size_t>(made.rows() * cols) * 2);
  const Buffer out = device.allocate(static_cast<size_t>(made.rows() * cols) * 2);
  const Tensor from = {q.data(), DType::kBF16, made.rows(), cols, cols};
  const Tensor to = {out.data(), DType::kBF16, made.rows(), cols, cols};

  CudaAttentionPlan plan;
  const auto start = std::chrono::steady_clock::now();
  attention.plan(made.step(), plan);
  const double planning =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  int32_t layer = 0;
  const auto call = [&] {
    attention.run(from, plan, layer, kv, 0, to);
    layer = (layer + 1) % layers;
  };
  const double seconds = compete(device, {call}, options)[0];
  const double flops =
      4.0 * options.head_dim * config.num_heads * static_cast<double>(made.pairs());
  std::printf("%-38s %9.1f %9.1f %7.0f%% %8.0f %7.0f%% %9.1f\n", c.name, seconds * 1e6,
              flops / seconds / 1e12, 100 * flops / seconds / limits.gemm, bytes / seconds / 1e9,
              100 * bytes / seconds / limits.copy, planning * 1e6);
  std::fflush(stdout);
}

void bench(const Options& options) {
  Device device(0);
  CudaLinear fast(device, false);
  CudaLinear own(device, true);
  std::printf("%s, attention of %d kv heads x group %d, head_dim %d\n",
              device.properties().name.c_str(), options.kv_heads, options.group, options.head_dim);
  if (!fast.problem().empty()) std::printf("cuBLASLt: %s\n", fast.problem().c_str());
  const Limits limits = measure_limits(device, fast, own, options);
  std::printf("limits: copy %.0f GB/s, GEMM %.1f TFLOP/s\n", limits.copy / 1e9, limits.gemm / 1e12);
  if (options.limits_only) return;
  std::printf("%-38s %9s %9s %8s %8s %8s %9s\n", "", "us", "TFLOP/s", "of GEMM", "GB/s", "of copy",
              "plan us");
  const auto run = [&](const AttentionCase& c) {
    if (std::string(c.name).find(options.only) != std::string::npos)
      bench_case(device, options, limits, c);
  };
  if (options.few) {
    for (const AttentionCase& c : kShortCases) run(c);
  } else {
    for (const AttentionCase& c : kCases) run(c);
  }
  if (options.only.empty()) bench_linear(device, fast, own, limits, options);
}

Options parse(int argc, char** argv) {
  Options options;
  std::string kernel;
  parse_options(argc, argv,
                {
                    {"--head-dim", set_integer(options.head_dim)},
                    {"--kv-heads", set_integer(options.kv_heads)},
                    {"--group", set_integer(options.group)},
                    {"--rounds", set_integer(options.rounds)},
                    {"--kernel", set_text(kernel)},
                    {"--case", set_text(options.only)},
                    {"--limits", set_flag(options.limits_only)},
                    {"--short", set_flag(options.few)},
                });
  if (kernel == "wgmma") {
    options.kernel = AttentionKernel::kWgmma;
  } else if (kernel == "plain") {
    options.kernel = AttentionKernel::kPlain;
  } else if (!kernel.empty() && kernel != "mma") {
    std::fprintf(stderr, "--kernel %s: there are mma, wgmma and plain\n", kernel.c_str());
    std::exit(2);
  }
  if (options.few) {
    options.rounds = 1;
    options.head_dim = 64;
    options.kv_heads = 1;
  }
  return options;
}

}  // namespace
}  // namespace block_attention::cuda

int main(int argc, char** argv) {
  try {
    block_attention::cuda::bench(block_attention::cuda::parse(argc, argv));
  } catch (const block_attention::Error& error) {
    std::fprintf(stderr, "cuda_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
