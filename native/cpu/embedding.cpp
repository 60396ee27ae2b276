#include "cpu/embedding.hpp"

#include <string>

#include "core/error.hpp"

namespace block_attention {
namespace {

void check(const LinearWeight& table, std::span<const int32_t> tokens, const Tensor& out) {
  if (out.dtype != DType::kF32 || out.cols != table.in_features() ||
      out.rows != static_cast<int64_t>(tokens.size())) {
    throw Error(ErrorCode::kInvalidArgument,
                "embedding: the output must be float32 of tokens x in_features");
  }
  for (int32_t token : tokens) {
    if (token < 0 || token >= table.out_features()) {
      throw Error(ErrorCode::kInvalidArgument, "token id " + std::to_string(token) +
                                                   " is outside the vocabulary of " +
                                                   std::to_string(table.out_features()));
    }
  }
}

template <typename Table>
void read_rows(ThreadPool& pool, const Table& table, std::span<const int32_t> tokens,
               const Tensor& out) {
  check(table, tokens, out);
  pool.run(out.rows, [&](int64_t i, int) {
    table.read_row(tokens[static_cast<size_t>(i)], out.f32() + i * out.stride);
  });
}

}  // namespace

void embedding(ThreadPool& pool, const PackedLinear& table, std::span<const int32_t> tokens,
               const Tensor& out) {
  read_rows(pool, table, tokens, out);
}

void embedding(ThreadPool& pool, const PackedInt8& table, std::span<const int32_t> tokens,
               const Tensor& out) {
  read_rows(pool, table, tokens, out);
}

}  // namespace block_attention
