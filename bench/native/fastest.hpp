// The time of one call, as the fastest of several rounds: noise only ever adds time.
#pragma once

#include <algorithm>
#include <chrono>

namespace block_attention {

// Seconds of call(index), each with another index. A round is as many calls as last about 2 ms.
template <typename Call>
double fastest_seconds(int rounds, Call call) {
  int index = 0;
  const auto time = [&](int calls) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) call(index++);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
  };
  // The first call touches memory for the first time, the second says how long one takes.
  time(1);
  const int calls = std::clamp(static_cast<int>(0.002 / time(1)), 1, 5000);
  // On a machine so busy that a round takes long, few of them.
  const auto start = std::chrono::steady_clock::now();
  double best = time(calls);
  for (int round = 1; round < rounds; ++round) {
    if (std::chrono::steady_clock::now() - start > std::chrono::seconds(1)) break;
    best = std::min(best, time(calls));
  }
  return best;
}

}  // namespace block_attention
