// Loads a model from what a hostile folder says, with nothing checked by TypeScript, and, if it
// loads, draws two tokens. Whatever is wrong must be an Error.
#include <memory>
#include <new>
#include <optional>

#include "events.hpp"
#include "hostile_folder.hpp"

namespace block_attention::fuzz {
namespace {

void load_and_run(HostileFolder& folder) {
  static MemoryFile file;
  file.set(folder.content);
  const std::vector<std::string> paths(static_cast<size_t>(folder.files), file.path());
  const int32_t vocab = folder.config.vocab_size;
  folder.config.validate();
  FileWeights source(paths, folder.tensors);
  std::unique_ptr<Backend> backend = make_cpu_backend(folder.threads);
  ModelWeights weights =
      load_weights(folder.config, source, *backend, WeightFormat::kStored, [](size_t, size_t) {});
  Events events(vocab);
  Engine engine(folder.config, std::move(backend), std::move(weights), folder.options,
                [&events](const auto& reported) { events.take(reported); });

  SequenceSpec spec;
  spec.id = 1;
  for (int32_t token : {0, vocab - 1, vocab / 2}) spec.tokens.push_back(token);
  spec.generation.emplace();
  spec.generation->max_tokens = 2;
  spec.generation->sampling.top_logprobs = 3;
  engine.submit({spec});
  events.wait("a generation that does not end", [&] { return engine.stats().running == 0; });
}

}  // namespace
}  // namespace block_attention::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace block_attention;
  FuzzedDataProvider data(bytes, size);
  fuzz::HostileFolder folder = fuzz::HostileFolderReader(data).read();
  try {
    fuzz::load_and_run(folder);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) fuzz::finding(error.what());
  } catch (const std::bad_alloc&) {
    // The addon says OUT_OF_MEMORY.
    return 0;
  }
  return 0;
}
