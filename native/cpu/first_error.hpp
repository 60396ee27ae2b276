// Keeps the first exception of any worker, since a task of the pool must not throw.
#pragma once

#include <atomic>
#include <exception>
#include <mutex>

namespace block_attention {

class FirstError {
 public:
  // Runs nothing any more once something was thrown.
  template <typename Body>
  void guard(Body body) {
    if (failed_) return;
    try {
      body();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      failed_ = true;
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

}  // namespace block_attention
