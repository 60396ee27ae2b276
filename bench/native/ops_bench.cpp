// ops_bench [--isa NAME] [--threads N] [--rounds R] [--megabytes M] [--limits 1]
//
// The limits of this machine (fastest streaming read, peak multiply-adds), then time, GFLOP/s and
// GB/s of the small ops. Prints one JSON object: {isa, threads, limits: {readGBs, readKernel,
// f32GFLOPs, bf16GFLOPs, bf16Tiles, int8GFLOPs, int8Tiles}, rows: [{op, shape, microseconds, flops,
// bytes}]}; bf16Tiles and int8Tiles: whether that rate is one of tiles (AMX).
// Times are those of the fastest round (noise only ever adds time). Activations stay in the caches,
// as in a forward pass, where the op before has just written them; KV pages and logits are rotated
// through more than M megabytes (four times the last-level cache unless said).
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "cpu/cpu_backend.hpp"
#include "cpu/thread_pool.hpp"
#include "fastest.hpp"
#include "options.hpp"
#include "peak_products.hpp"
#include "stream_read.hpp"

namespace block_attention {
namespace {

struct Options {
  Isa isa = default_isa();
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int rounds = 30;
  size_t rotation = 0;
  bool limits_only = false;
};

struct Row {
  std::string op;
  std::string shape;
  double seconds;
  double flops;
  double bytes;
};

// More than four times the last-level cache. Some systems name the sum of all caches of a socket;
// no core reaches more than its own share, so no more than 128 MB are believed.
size_t default_rotation() {
  long cache = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
  cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  return size_t{4} * static_cast<size_t>(std::clamp(cache, 60L << 20, 128L << 20)) +
         (size_t{16} << 20);
}

// Activations [rows, cols] with some values.
class Activations {
 public:
  Activations(Backend& backend, int64_t rows, int64_t cols)
      : memory_(backend.allocate(static_cast<size_t>(rows * cols) * sizeof(float))),
        view_{memory_.data(), DType::kF32, rows, cols, cols} {
    for (int64_t i = 0; i < rows * cols; ++i)
      view_.f32()[i] = static_cast<float>(i % 61) * 0x1p-5f - 1.0f;
  }
  const Tensor& view() const { return view_; }

 private:
  Buffer memory_;
  Tensor view_;
};

std::string shape_of(int64_t rows, int64_t cols) {
  return std::to_string(rows) + " x " + std::to_string(cols);
}

struct ProductLimit {
  double rate = 0;
  bool tiles = false;
};

struct Limits {
  double read_rate = 0;
  std::string read_kernel;
  ProductLimit f32;
  ProductLimit bf16;
  ProductLimit int8;
};

// Work is dealt out in chunks, and a call reads few of them: a worker that the system stops for a
// while then costs one call, not the best one.
Limits measure_limits(const Options& options, Backend& backend) {
  ThreadPool pool(options.threads);
  Limits limits;
  const size_t chunk = size_t{256} << 10;
  const size_t chunks = 8 * static_cast<size_t>(options.threads);
  const size_t calls = options.rotation / (chunk * chunks) + 1;
  const Buffer memory = backend.allocate(calls * chunks * chunk);
  std::fill_n(static_cast<char*>(memory.data()), memory.bytes(), char{1});
  std::atomic<uint32_t> sink = 0;
  for (const StreamRead& kernel : stream_reads(options.isa)) {
    const double seconds = fastest_seconds(options.rounds, [&](int call) {
      const char* begin = static_cast<const char*>(memory.data()) +
                          static_cast<size_t>(call) % calls * chunks * chunk;
      pool.run(static_cast<int64_t>(chunks), [&](int64_t task, int) {
        const uint32_t sum = kernel.read(begin + static_cast<size_t>(task) * chunk, chunk);
        sink.fetch_xor(sum, std::memory_order_relaxed);
      });
    });
    const double rate = static_cast<double>(chunks * chunk) / seconds;
    if (rate > limits.read_rate) {
      limits.read_rate = rate;
      limits.read_kernel = kernel.name;
    }
  }
  const auto limit_of = [&](Product product) {
    const PeakProducts peak = peak_products(options.isa, product);
    const int64_t rounds = 2'500;
    const int64_t tasks = 8 * int64_t{options.threads};
    const double seconds = fastest_seconds(options.rounds, [&](int) {
      pool.run(tasks, [&](int64_t, int) {
        sink.fetch_xor(static_cast<uint32_t>(peak.run(rounds)), std::memory_order_relaxed);
      });
    });
    const double rate = static_cast<double>(tasks * rounds) * peak.flops_per_round / seconds;
    return ProductLimit{rate, peak.tiles};
  };
  limits.f32 = limit_of(Product::kF32);
  limits.bf16 = limit_of(Product::kBF16);
  limits.int8 = limit_of(Product::kInt8);
  return limits;
}

void norms(const Options& options, Backend& backend, std::vector<Row>& rows_out) {
  for (int64_t cols : {int64_t{576}, int64_t{4096}}) {
    const std::vector<float> ones(static_cast<size_t>(cols), 1.0f);
    const auto weight = backend.make_vector(ones);
    for (int64_t rows : {int64_t{1}, int64_t{50}, int64_t{512}}) {
      const Activations x(backend, rows, cols);
      const Activations delta(backend, rows, cols);
      const Activations out(backend, rows, cols);
      const double values = static_cast<double>(rows * cols);
      const double norm = fastest_seconds(
          options.rounds, [&](int) { backend.rms_norm(x.view(), *weight, 1e-5f, out.view()); });
      rows_out.push_back({"rms_norm", shape_of(rows, cols), norm, 4 * values, 8 * values});
      const double fused = fastest_seconds(options.rounds, [&](int) {
        backend.add_rms_norm(x.view(), delta.view(), *weight, 1e-5f, out.view());
      });
      rows_out.push_back({"add_rms_norm", shape_of(rows, cols), fused, 5 * values, 16 * values});
    }
  }
}

void swiglu(const Options& options, Backend& backend, std::vector<Row>& rows_out) {
  for (int64_t cols : {int64_t{1536}, int64_t{14'336}}) {
    for (int64_t rows : {int64_t{1}, int64_t{50}, int64_t{512}}) {
      const Activations gate_up(backend, rows, 2 * cols);
      const Activations out(backend, rows, cols);
      const double seconds =
          fastest_seconds(options.rounds, [&](int) { backend.swiglu(gate_up.view(), out.view()); });
      const double values = static_cast<double>(rows * cols);
      rows_out.push_back({"swiglu", shape_of(rows, cols), seconds, 5 * values, 12 * values});
    }
  }
}

void sampling(const Options& options, Backend& backend, std::vector<Row>& rows_out) {
  const int64_t vocab = 151'936;
  struct Case {
    const char* name;
    SamplingParams params;
  };
  std::vector<Case> cases = {
      {"sample, greedy", {}}, {"sample, top-p 0.9", {}}, {"sample, top-k 50", {}}};
  cases[1].params.temperature = 1;
  cases[1].params.top_p = 0.9f;
  cases[2].params.temperature = 1;
  cases[2].params.top_k = 50;
  constexpr int64_t kMostRows = 8;
  const size_t group_bytes = static_cast<size_t>(kMostRows * vocab) * sizeof(float);
  const int64_t groups = static_cast<int64_t>(options.rotation / group_bytes) + 1;
  // As spread as a model's logits are: exp of them falls off over some thousand tokens.
  const Activations logits(backend, groups * kMostRows, vocab);
  uint32_t state = 1;
  for (int64_t i = 0; i < groups * kMostRows * vocab; ++i) {
    state = state * 1664525u + 1013904223u;
    logits.view().f32()[i] = static_cast<float>(state >> 8) * 0x1p-24f * 16.0f;
  }
  for (const Case& one : cases) {
    for (int64_t rows : {int64_t{1}, kMostRows}) {
      const std::vector<SamplingRow> sampled(static_cast<size_t>(rows),
                                             SamplingRow{&one.params, {}, 0});
      std::vector<SampledToken> out(static_cast<size_t>(rows));
      const double seconds = fastest_seconds(options.rounds, [&](int call) {
        const int64_t first = call % groups * kMostRows;
        backend.sample(logits.view().row_range(first, rows), sampled, out);
      });
      const double bytes = static_cast<double>(rows * vocab) * sizeof(float);
      rows_out.push_back({one.name, shape_of(rows, vocab), seconds, 0, bytes});
    }
  }
}

// New keys into pages, and a block's keys out of them, rotated. Each call works on another block.
void rope(const Options& options, Backend& backend, std::vector<Row>& rows_out) {
  const AttentionConfig config{32, 8, 128, 0.088f, std::vector<double>(64, 0.01), 1};
  backend.configure_attention(config);
  const KvShape shape{1, config.num_kv_heads, config.head_dim, DType::kBF16};
  const int32_t page_tokens = backend.kv_page_tokens();
  const size_t page_bytes = backend.kv_page_bytes(shape);
  const int64_t kv_width = int64_t{config.num_kv_heads} * config.head_dim;
  const int64_t qkv_width = int64_t{config.num_heads} * config.head_dim + 2 * kv_width;
  for (int32_t rows : {1, 50, 512}) {
    const int32_t block_pages = (rows + page_tokens - 1) / page_tokens;
    const int32_t blocks =
        static_cast<int32_t>(options.rotation / (static_cast<size_t>(block_pages) * page_bytes)) +
        1;
    const auto kv = backend.make_kv_storage(shape, blocks * block_pages);
    std::vector<PageId> pages(static_cast<size_t>(blocks) * static_cast<size_t>(block_pages));
    std::iota(pages.begin(), pages.end(), 0);
    const auto pages_of = [&](int call) {
      const size_t count = static_cast<size_t>(block_pages);
      return std::span<const PageId>(pages).subspan(static_cast<size_t>(call % blocks) * count,
                                                    count);
    };
    const Activations qkv(backend, rows, qkv_width);
    const std::vector<int32_t> tokens(static_cast<size_t>(rows), 0);
    // One step per block, planned beforehand, as a forward pass plans once for all its layers.
    std::vector<StepSegment> segments;
    std::vector<StepSequence> sequences;
    for (int block = 0; block < blocks; ++block) segments.push_back({pages_of(block), rows, 0});
    for (const StepSegment& segment : segments) sequences.push_back({0, rows, 0, {&segment, 1}});
    std::vector<std::unique_ptr<AttentionPlan>> plans;
    for (const StepSequence& sequence : sequences) {
      plans.push_back(backend.make_attention_plan());
      backend.plan_attention({tokens, {&sequence, 1}}, *plans.back());
    }
    const auto store_block = [&](int call) {
      backend.rope_store(qkv.view(), *plans[static_cast<size_t>(call % blocks)], {}, 0, *kv);
    };
    // A page's memory comes with its first write.
    for (int block = 0; block < blocks; ++block) store_block(block);
    const double store = fastest_seconds(options.rounds, store_block);
    const double values = static_cast<double>(rows) * static_cast<double>(kv_width);
    // Per value of a key: half of four multiplications and two additions. Read f32, written bf16; K
    // and V.
    rows_out.push_back(
        {"rope_store", shape_of(rows, kv_width), store, 3 * values, 2 * (4 + 2) * values});
    const Activations out_k(backend, rows, kv_width);
    const Activations out_v(backend, rows, kv_width);
    const double rotate = fastest_seconds(options.rounds, [&](int call) {
      backend.rope_rotate(*kv, pages_of(call), rows, 0, 1000, out_k.view(), out_v.view());
    });
    rows_out.push_back(
        {"rope_rotate", shape_of(rows, kv_width), rotate, 3 * values, 2 * (2 + 4) * values});
  }
}

const char* json(bool value) { return value ? "true" : "false"; }

void print(const Options& options, const Limits& limits, const std::vector<Row>& rows) {
  std::printf(
      "{\"isa\":\"%s\",\"threads\":%d,\"limits\":{\"readGBs\":%.3f,\"readKernel\":\"%s\","
      "\"f32GFLOPs\":%.3f,\"bf16GFLOPs\":%.3f,\"bf16Tiles\":%s,\"int8GFLOPs\":%.3f,"
      "\"int8Tiles\":%s},\"rows\":[",
      isa_name(options.isa), options.threads, limits.read_rate / 1e9, limits.read_kernel.c_str(),
      limits.f32.rate / 1e9, limits.bf16.rate / 1e9, json(limits.bf16.tiles),
      limits.int8.rate / 1e9, json(limits.int8.tiles));
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    std::printf(
        "%s{\"op\":\"%s\",\"shape\":\"%s\",\"microseconds\":%.3f,\"flops\":%.0f,\"bytes\":%.0f}",
        i == 0 ? "" : ",", row.op.c_str(), row.shape.c_str(), row.seconds * 1e6, row.flops,
        row.bytes);
  }
  std::printf("]}\n");
}

void bench(const Options& options) {
  const auto backend = make_cpu_backend(options.threads, options.isa);
  const Limits limits = measure_limits(options, *backend);
  std::vector<Row> rows;
  if (!options.limits_only) {
    norms(options, *backend, rows);
    swiglu(options, *backend, rows);
    sampling(options, *backend, rows);
    rope(options, *backend, rows);
  }
  print(options, limits, rows);
}

Options parse(int argc, char** argv) {
  Options options;
  size_t megabytes = 0;
  parse_options(argc, argv,
                {
                    {"--isa", set_isa(options.isa)},
                    {"--threads", set_integer(options.threads)},
                    {"--rounds", set_integer(options.rounds)},
                    {"--megabytes", set_integer(megabytes)},
                    {"--limits", set_flag(options.limits_only)},
                });
  options.rotation = megabytes == 0 ? default_rotation() : megabytes << 20;
  return options;
}

}  // namespace
}  // namespace block_attention

int main(int argc, char** argv) {
  block_attention::bench(block_attention::parse(argc, argv));
  return 0;
}
