// linear_bench [--isa NAME] [--threads N] [--inputs K] [--outputs N] [--dtype bf16|f16|f32]
//              [--int8 1 [--pairs 1]] [--rows 1,8,...] [--rounds R]
//
// GFLOP/s and GB/s of `linear` by number of rows, beside limits measured in the same run: the
// fastest streaming read, and oneDNN's float32 inner product where the library was found at build
// time. Contenders take turns in rounds, so that a busy machine slows all of them. Rates are those
// of the fastest round (noise only ever adds time); the ratios are of the fastest rounds and, in
// brackets, the median of each round's ratio. Weights are rotated through more than 256 MB
// (oneDNN's, which are float32, through more), as a model's layers are. --int8 1: weights of
// --dtype, quantised as they are packed; activations are quantised within the measured time.
// --pairs 1: multiplied as on a CPU without VNNI.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#ifdef BLOCK_ATTENTION_DNNL
#include <oneapi/dnnl/dnnl.hpp>
#endif

#include "core/dtype.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/int8_linear.hpp"
#include "cpu/int8_weight.hpp"
#include "cpu/isa.hpp"
#include "cpu/linear.hpp"
#include "cpu/linear_weight.hpp"
#include "cpu/thread_pool.hpp"
#include "options.hpp"
#include "stream_read.hpp"

namespace block_attention {
namespace {

struct Options {
  Isa isa = default_isa();
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int64_t inputs = 2048;
  int64_t outputs = 8192;
  DType dtype = DType::kBF16;
  bool int8 = false;
  bool pairs = false;

  Int8Dot dot() const { return pairs ? Int8Dot::kPairs : best_int8_dot(isa); }
  std::vector<int64_t> rows = {1, 2, 4, 8, 16, 32, 50, 64, 128, 512, 2048};
  int rounds = 40;
};

constexpr size_t kRotation = size_t{256} << 20;

// Seconds of one call, over enough calls to last about 2 ms.
class Contender {
 public:
  Contender(std::string name, std::function<void(int)> call)
      : name_(std::move(name)), call_(std::move(call)) {}

  const std::string& name() const { return name_; }
  double seconds() {
    // Another contender's threads may still be spinning.
    std::this_thread::sleep_for(std::chrono::milliseconds(12));
    call_(next_++);
    if (calls_ == 0) calls_ = std::clamp(static_cast<int>(0.002 / time(1)), 1, 2000);
    return time(calls_);
  }

 private:
  double time(int calls) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) call_(next_++);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
  }

  std::string name_;
  std::function<void(int)> call_;
  int calls_ = 0;
  int next_ = 0;
};

double fastest(const std::vector<double>& times) {
  return *std::min_element(times.begin(), times.end());
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// times[contender][round]
std::vector<std::vector<double>> compete(std::vector<Contender>& contenders, int rounds) {
  std::vector<std::vector<double>> times(contenders.size());
  double once = 0;
  for (Contender& contender : contenders) once += contender.seconds();
  // Few rounds of what takes long.
  rounds = std::min(rounds, std::max(5, static_cast<int>(2 / once)));
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < contenders.size(); ++i) times[i].push_back(contenders[i].seconds());
  }
  return times;
}

double median_ratio(const std::vector<double>& numerator, const std::vector<double>& denominator) {
  std::vector<double> ratios;
  for (size_t i = 0; i < numerator.size(); ++i) ratios.push_back(numerator[i] / denominator[i]);
  return median(ratios);
}

Buffer filled_floats(int64_t count) {
  Buffer buffer = allocate_host_memory(static_cast<size_t>(count) * sizeof(float));
  float* values = static_cast<float*>(buffer.data());
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 31) * 0x1p-5f - 0.5f;
  return buffer;
}

#ifdef BLOCK_ATTENTION_DNNL
// float32 inner product with the weights in whatever layout the library asks for.
class DnnlLinear {
 public:
  DnnlLinear(int64_t rows, int64_t inputs, int64_t outputs)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using dnnl::memory;
    const memory::desc x({rows, inputs}, memory::data_type::f32, memory::format_tag::ab);
    const memory::desc w({outputs, inputs}, memory::data_type::f32, memory::format_tag::any);
    const memory::desc out({rows, outputs}, memory::data_type::f32, memory::format_tag::ab);
    const dnnl::inner_product_forward::primitive_desc description(
        dnnl::inner_product_forward::desc(dnnl::prop_kind::forward_inference, x, w, out), engine_);
    op_ = dnnl::inner_product_forward(description);
    x_ = filled(description.src_desc());
    out_ = filled(description.dst_desc());
    const size_t bytes = static_cast<size_t>(outputs * inputs) * sizeof(float);
    for (size_t i = 0; i < kRotation * 2 / bytes + 2; ++i)
      weights_.push_back(filled(description.weights_desc()));
  }

  void run(int call) {
    const size_t weight = static_cast<size_t>(call) % weights_.size();
    op_.execute(stream_,
                {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, weights_[weight]}, {DNNL_ARG_DST, out_}});
    stream_.wait();
  }

 private:
  dnnl::memory filled(const dnnl::memory::desc& description) {
    buffers_.push_back(filled_floats(static_cast<int64_t>(description.get_size() / sizeof(float))));
    return dnnl::memory(description, engine_, buffers_.back().data());
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::inner_product_forward op_;
  dnnl::memory x_;
  dnnl::memory out_;
  std::vector<dnnl::memory> weights_;
  std::vector<Buffer> buffers_;
};
#endif

// Enough of them that they come from memory.
struct Weights {
  std::vector<std::unique_ptr<PackedLinear>> stored;
  std::vector<std::unique_ptr<PackedInt8>> int8;

  const LinearWeight& weight(int call) const {
    if (!int8.empty()) return *int8[static_cast<size_t>(call) % int8.size()];
    return *stored[static_cast<size_t>(call) % stored.size()];
  }
  // Where its largest part begins.
  const char* data(int call) const {
    if (!int8.empty()) {
      return reinterpret_cast<const char*>(int8[static_cast<size_t>(call) % int8.size()]->values());
    }
    return static_cast<const char*>(stored[static_cast<size_t>(call) % stored.size()]->panels());
  }
};

Weights make_weights(ThreadPool& pool, const Options& options) {
  std::mt19937 rng(1);
  std::vector<char> source(static_cast<size_t>(options.inputs * options.outputs) *
                           dtype_size(options.dtype));
  for (size_t i = 0; i < source.size() / dtype_size(options.dtype); ++i) {
    const float value = static_cast<float>(rng()) * 0x1p-32f - 0.5f;
    if (options.dtype == DType::kF32) {
      reinterpret_cast<float*>(source.data())[i] = value;
    } else {
      reinterpret_cast<uint16_t*>(source.data())[i] =
          options.dtype == DType::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
    }
  }
  const size_t row_bytes = static_cast<size_t>(options.inputs) * dtype_size(options.dtype);
  const auto read = [&](int64_t first, int64_t count, void* to) {
    std::memcpy(to, source.data() + static_cast<size_t>(first) * row_bytes,
                static_cast<size_t>(count) * row_bytes);
  };
  const HostMatrix matrix{read, options.dtype, options.outputs, options.inputs};
  Weights weights;
  const size_t packed_bytes = static_cast<size_t>(options.inputs * options.outputs) *
                              (options.int8 ? 1 : dtype_size(options.dtype));
  const size_t count = kRotation / packed_bytes + 2;
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < count; ++i) {
    if (options.int8) {
      weights.int8.push_back(pack_int8(pool, options.isa, options.dot(), {&matrix, 1}, {}));
    } else {
      weights.stored.push_back(pack_linear(pool, options.isa, {&matrix, 1}, {}));
    }
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("packing: %.1f GB/s of source\n",
              static_cast<double>(source.size() * count) / seconds / 1e9);
  return weights;
}

// The best streaming read over the same weights, GB/s.
double report_stream(ThreadPool& pool, const Options& options, const Weights& weights) {
  std::atomic<uint32_t> sink = 0;
  const size_t chunk = size_t{256} << 10;
  const size_t element = options.int8 ? 1 : dtype_size(options.dtype);
  const size_t bytes =
      static_cast<size_t>(options.inputs * options.outputs) * element / chunk * chunk;
  if (bytes == 0) return 0;
  std::vector<Contender> contenders;
  for (const StreamRead& kernel : stream_reads(options.isa)) {
    contenders.emplace_back(kernel.name, [&, kernel](int call) {
      const char* data = weights.data(call);
      pool.run(static_cast<int64_t>(bytes / chunk), [&](int64_t task, int) {
        sink.fetch_xor(kernel.read(data + static_cast<size_t>(task) * chunk, chunk),
                       std::memory_order_relaxed);
      });
    });
  }
  const auto times = compete(contenders, options.rounds);
  double best = 0;
  for (size_t i = 0; i < contenders.size(); ++i) {
    const double rate = static_cast<double>(bytes) / fastest(times[i]) / 1e9;
    std::printf("read, %s: %.1f GB/s\n", contenders[i].name().c_str(), rate);
    best = std::max(best, rate);
  }
  return best;
}

void bench(const Options& options) {
  ThreadPool pool(options.threads);
  LinearOp stored(pool, options.isa);
  Int8LinearOp int8(pool, options.isa, options.dot());
  std::printf("linear %ld x %ld %s, %s, %d threads\n", static_cast<long>(options.outputs),
              static_cast<long>(options.inputs), options.int8 ? "int8" : dtype_name(options.dtype),
              isa_name(options.isa), options.threads);
  const auto weights = make_weights(pool, options);
  const double stream = report_stream(pool, options, weights);
  const double bytes = static_cast<double>(weights.weight(0).bytes());
  std::printf("%6s %10s %9s %9s %10s %8s\n", "rows", "GFLOP/s", "GB/s", "of read", "oneDNN",
              "ratio");
  for (int64_t rows : options.rows) {
    const Buffer x = filled_floats(rows * options.inputs);
    const Buffer out = filled_floats(rows * options.outputs);
    const Tensor in{x.data(), DType::kF32, rows, options.inputs, options.inputs};
    const Tensor to{out.data(), DType::kF32, rows, options.outputs, options.outputs};
    std::vector<Contender> contenders;
    contenders.emplace_back("ours", [&](int call) {
      const LinearWeight& weight = weights.weight(call);
      if (options.int8) {
        int8.run(in, static_cast<const PackedInt8&>(weight), to);
      } else {
        stored.run(in, static_cast<const PackedLinear&>(weight), to);
      }
    });
#ifdef BLOCK_ATTENTION_DNNL
    DnnlLinear dnnl(rows, options.inputs, options.outputs);
    contenders.emplace_back("oneDNN", [&](int call) { dnnl.run(call); });
#endif
    const auto times = compete(contenders, options.rounds);
    const double flops = 2.0 * static_cast<double>(rows * options.inputs * options.outputs) / 1e9;
    const double ours = fastest(times[0]);
    std::printf("%6ld %10.1f %9.1f %8.0f%%", static_cast<long>(rows), flops / ours,
                bytes / ours / 1e9, stream == 0 ? 0 : 100 * bytes / ours / 1e9 / stream);
    if (times.size() > 1) {
      const double theirs = fastest(times[1]);
      std::printf(" %10.1f %8.2f (%.2f)", flops / theirs, theirs / ours,
                  median_ratio(times[1], times[0]));
    }
    std::printf("\n");
    std::fflush(stdout);
  }
}

Options parse(int argc, char** argv) {
  Options options;
  parse_options(argc, argv,
                {
                    {"--isa", set_isa(options.isa)},
                    {"--threads", set_integer(options.threads)},
                    {"--inputs", set_integer(options.inputs)},
                    {"--outputs", set_integer(options.outputs)},
                    {"--rounds", set_integer(options.rounds)},
                    {"--rows", set_list(options.rows)},
                    {"--dtype", set_dtype(options.dtype)},
                    {"--int8", set_flag(options.int8)},
                    {"--pairs", set_flag(options.pairs)},
                });
  return options;
}

}  // namespace
}  // namespace block_attention

int main(int argc, char** argv) {
  block_attention::bench(block_attention::parse(argc, argv));
  return 0;
}
