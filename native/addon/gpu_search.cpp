#include "addon/gpu_search.hpp"

#include <string>

#include "addon/convert.hpp"
#include "addon/devices.hpp"

namespace block_attention::addon {
namespace {

// In libuv's pool: it is over in a moment, and no engine is concerned.
class GpuSearch final : public Napi::AsyncWorker {
 public:
  explicit GpuSearch(Napi::Env env)
      : Napi::AsyncWorker(env, "block_attention.findGpu"),
        deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { gpu_ = describe_gpu(); }
  void OnOK() override { deferred_.Resolve(to_js(Env(), gpu_)); }
  // Of what Execute() may throw, memory that is lacking alone.
  void OnError(const Napi::Error& error) override {
    deferred_.Reject(to_js_error(Env(), ErrorCode::kOutOfMemory, error.Message().c_str()).Value());
  }

 private:
  Napi::Promise::Deferred deferred_;
  GpuDescription gpu_;
};

}  // namespace

Napi::Promise find_gpu(Napi::Env env) {
  auto* search = new GpuSearch(env);  // deletes itself when it is done
  const Napi::Promise promise = search->promise();
  search->Queue();
  return promise;
}

}  // namespace block_attention::addon
