#pragma once

namespace block_attention {

// Asks for a line, into the second cache level. GCC takes a function that does nothing else for one
// without effect, and leaves its calls out; the empty assembly is an effect. An object, not a
// function, so that what calls it for each line inlines it.
inline constexpr auto ask_ahead = [](const char* line) {
  __builtin_prefetch(line, 0, 2);
  asm volatile("");
};

}  // namespace block_attention
