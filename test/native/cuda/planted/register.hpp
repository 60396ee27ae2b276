// Behind the driver of a kernel, whose run() says what is wrong with the kernel of the namespace
// PLANTED: a bug for the tests to find. Once for each bug, so there is no guard.
#include "planted/planted_bug.hpp"

namespace block_attention::cuda::PLANTED {
namespace {

[[maybe_unused]] const bool planted = [] {
  test::planted_bugs().push_back(
      {PLANTED_NAME, PLANTED_FOUND_BY, [] { return test::said_by(run); }});
  return true;
}();

}  // namespace
}  // namespace block_attention::cuda::PLANTED
