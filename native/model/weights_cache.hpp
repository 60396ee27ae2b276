// int8 weights kept on disk from one load of a model for the next: a folder with one file
// (packed_file.hpp) for each model and layout of weights. What is found wrong with it never fails a
// load; the weights are then quantised as they would be without it.
#pragma once

#include <string>

#include "model/weights.hpp"

namespace block_attention {

struct WeightsCacheReport {
  enum class State {
    kOff,
    kRead,     // the weights came from the file
    kWritten,  // they were quantised, and are kept for the next load
    kFailed,   // they were quantised, and are not kept: `problem` says why
  };
  State state = State::kOff;
  std::string file;
  // With kWritten: why a file that was there was not read.
  std::string problem;
};

// load_weights() in int8 by way of `folder`, which is made if it is missing. Throws as
// load_weights() does.
ModelWeights load_cached_weights(const ModelConfig& config, WeightSource& source, Backend& backend,
                                 const std::string& folder, LoadProgress progress,
                                 WeightsCacheReport& report);

}  // namespace block_attention
