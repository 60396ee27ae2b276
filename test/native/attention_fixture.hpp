// Random attention cases: blocks, sequences that use them at offsets of their own, and new rows,
// run through rope_store and attention in any schedule; and the plain formula in global positions
// as the reference.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "cpu/attention.hpp"
#include "support.hpp"

namespace block_attention::test {

struct BlockUse {
  size_t block = 0;
  int32_t offset = 0;
};

// q, k, v of every token of a block before norm and RoPE: rows of [q heads | k heads | v heads].
struct TokenRows {
  int32_t tokens = 0;
  std::vector<float> qkv;
};

struct CaseSequence {
  std::vector<BlockUse> earlier;
  int32_t offset = 0;       // of its own block
  int32_t local_begin = 0;  // keys of the own block that were there before
  int32_t rows = 0;
  TokenRows own;
};

struct AttentionCase {
  AttentionConfig config;
  DType kv_dtype = DType::kF32;
  int32_t window = 0;
  std::vector<TokenRows> blocks;
  std::vector<CaseSequence> sequences;

  int32_t group() const { return config.num_heads / config.num_kv_heads; }
  int32_t cols() const { return config.num_heads * config.head_dim; }
  int32_t qkv_cols() const {
    return (config.num_heads + 2 * config.num_kv_heads) * config.head_dim;
  }
};

inline AttentionConfig attention_config(int32_t kv_heads, int32_t group, int32_t head_dim,
                                        int32_t rotary_dim, double factor = 1) {
  AttentionConfig config;
  config.num_heads = kv_heads * group;
  config.num_kv_heads = kv_heads;
  config.head_dim = head_dim;
  config.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)));
  config.rope_attention_factor = factor;
  for (int32_t i = 0; i < rotary_dim / 2; ++i)
    config.inv_freq.push_back(std::pow(10000.0, -2.0 * i / rotary_dim));
  return config;
}

inline TokenRows random_tokens(Random& random, const AttentionCase& c, int32_t tokens,
                               float q_scale) {
  TokenRows rows = {tokens, random.normals(static_cast<size_t>(tokens) * c.qkv_cols())};
  for (int32_t t = 0; t < tokens; ++t) {
    for (int32_t i = 0; i < c.cols(); ++i)
      rows.qkv[static_cast<size_t>(t) * c.qkv_cols() + i] *= q_scale;
  }
  return rows;
}

struct CaseSizes {
  std::vector<int32_t> blocks;  // lengths
  int32_t sequences = 1;
  int32_t max_earlier = 4;
  std::vector<int32_t> rows = {1};  // one of these per sequence
  std::vector<int32_t> local_begins = {0};
  float q_scale = 1;
};

// Fills in blocks and sequences. Offsets leave gaps, and one block may occur twice in a sequence.
inline void fill_case(Random& random, const CaseSizes& sizes, AttentionCase& c) {
  const auto pick = [&](const std::vector<int32_t>& from) {
    return from[static_cast<size_t>(random.between(0, static_cast<int64_t>(from.size()) - 1))];
  };
  for (int32_t length : sizes.blocks)
    c.blocks.push_back(random_tokens(random, c, length, sizes.q_scale));
  for (int32_t s = 0; s < sizes.sequences; ++s) {
    CaseSequence sequence;
    int32_t offset = static_cast<int32_t>(random.between(0, 20));
    const int64_t uses =
        sizes.blocks.empty() ? 0 : random.between(sizes.max_earlier / 2, sizes.max_earlier);
    for (int64_t i = 0; i < uses; ++i) {
      const auto block =
          static_cast<size_t>(random.between(0, static_cast<int64_t>(sizes.blocks.size()) - 1));
      sequence.earlier.push_back({block, offset});
      offset += sizes.blocks[block] +
                (random.chance(0.3) ? static_cast<int32_t>(random.between(1, 100)) : 0);
    }
    sequence.offset = offset;
    sequence.local_begin = pick(sizes.local_begins);
    sequence.rows = pick(sizes.rows);
    sequence.own = random_tokens(random, c, sequence.local_begin + sequence.rows, sizes.q_scale);
    c.sequences.push_back(std::move(sequence));
  }
}

// The case in the pages of a pool whose every byte was poison, in layer 1 of 2, on random pages.
class AttentionSetup {
 public:
  AttentionSetup(const AttentionCase& c, Isa isa, int threads, uint64_t page_seed)
      : case_(c), pool_(threads), attention_(pool_, isa, c.config), random_(page_seed) {
    int32_t pages = 3;
    for (const TokenRows& block : c.blocks) pages += pages_for(block.tokens);
    for (const CaseSequence& sequence : c.sequences) pages += pages_for(sequence.own.tokens);
    const KvShape shape = {2, c.config.num_kv_heads, c.config.head_dim, c.kv_dtype};
    kv_ = std::make_unique<CpuKvStorage>(shape, pages);
    std::memset(kv_->k(0, 0, 0), 0xff,
                kv_->page_bytes() * static_cast<size_t>(pages));  // NaN in bf16 and f32
    for (int32_t page = 0; page < pages; ++page) free_.push_back(page);
    for (size_t i = free_.size(); i > 1; --i) {
      std::swap(free_[i - 1],
                free_[static_cast<size_t>(random_.between(0, static_cast<int64_t>(i) - 1))]);
    }
    for (const TokenRows& block : c.blocks) {
      block_pages_.push_back(take(block.tokens));
      store(block, 0, block.tokens, block_pages_.back());
    }
    for (const CaseSequence& sequence : c.sequences) {
      own_pages_.push_back(take(sequence.own.tokens));
      store(sequence.own, 0, sequence.local_begin, own_pages_.back());
    }
  }

  struct Chunk {
    size_t sequence = 0;
    int32_t begin = 0;  // among its rows
    int32_t rows = 0;
  };

  std::vector<Chunk> whole() const {
    std::vector<Chunk> chunks;
    for (size_t s = 0; s < case_.sequences.size(); ++s)
      chunks.push_back({s, 0, case_.sequences[s].rows});
    return chunks;
  }

  // One step of these chunks: rope_store, then attention. Their rows, in order, densely.
  std::vector<float> step(const std::vector<Chunk>& chunks,
                          AttentionTasks::Mode mode = AttentionTasks::Mode::kAuto) {
    std::vector<StepSegment> segments;
    std::vector<StepSequence> sequences;
    std::vector<float> qkv;
    segments.reserve(1000);
    int32_t rows = 0;
    for (const Chunk& chunk : chunks) {
      const CaseSequence& sequence = case_.sequences[chunk.sequence];
      const int32_t local = sequence.local_begin + chunk.begin;
      const size_t first = segments.size();
      for (const BlockUse& use : sequence.earlier) {
        segments.push_back({block_pages_[use.block], case_.blocks[use.block].tokens,
                            sequence.offset + local - use.offset});
      }
      segments.push_back({own_pages_[chunk.sequence], local + chunk.rows, local});
      sequences.push_back(
          {rows, chunk.rows, local, {segments.data() + first, segments.size() - first}});
      const auto from = sequence.own.qkv.begin() + int64_t{local} * case_.qkv_cols();
      qkv.insert(qkv.end(), from, from + int64_t{chunk.rows} * case_.qkv_cols());
      rows += chunk.rows;
    }
    const std::vector<int32_t> tokens(static_cast<size_t>(rows));
    const Step step = {tokens, sequences};
    const Tensor view = {qkv.data(), DType::kF32, rows, case_.qkv_cols(), case_.qkv_cols()};
    attention_.plan(step, plan_, mode);
    attention_.rope_store(view, step, {}, 1, *kv_);

    const int32_t stride = case_.cols() + 5;
    std::vector<float> out = poisoned(static_cast<size_t>(rows) * stride);
    attention_.run(view.columns(0, case_.cols()), plan_, 1, *kv_, case_.window,
                   {out.data(), DType::kF32, rows, case_.cols(), stride});
    std::vector<float> dense;
    for (int32_t row = 0; row < rows; ++row) {
      const auto at = out.begin() + int64_t{row} * stride;
      dense.insert(dense.end(), at, at + case_.cols());
      for (int32_t i = case_.cols(); i < stride; ++i)
        EXPECT_TRUE(std::isnan(at[i])) << "wrote beside the row";
    }
    return dense;
  }

  double k_at(const std::vector<PageId>& pages, int32_t token, int32_t head, int32_t dim) const {
    return load_as_f32(kv_->k(pages[static_cast<size_t>(token / 16)], 1, head), case_.kv_dtype,
                       static_cast<size_t>(dim) * 16 + token % 16);
  }
  double v_at(const std::vector<PageId>& pages, int32_t token, int32_t head, int32_t dim) const {
    return load_as_f32(kv_->v(pages[static_cast<size_t>(token / 16)], 1, head), case_.kv_dtype,
                       static_cast<size_t>(token % 16) * case_.config.head_dim + dim);
  }
  const std::vector<PageId>& block_pages(size_t block) const { return block_pages_[block]; }
  const std::vector<PageId>& own_pages(size_t sequence) const { return own_pages_[sequence]; }
  const AttentionTasks& plan() const { return plan_; }
  CpuAttention& attention() { return attention_; }
  CpuKvStorage& kv() { return *kv_; }

 private:
  static int32_t pages_for(int32_t tokens) { return (tokens + 15) / 16; }

  std::vector<PageId> take(int32_t tokens) {
    std::vector<PageId> pages(free_.end() - pages_for(tokens), free_.end());
    free_.resize(free_.size() - pages.size());
    return pages;
  }

  void store(const TokenRows& from, int32_t begin, int32_t rows, const std::vector<PageId>& pages) {
    if (rows == 0) return;
    std::vector<float> qkv = from.qkv;
    const StepSegment segment = {pages, begin + rows, begin};
    const StepSequence sequence = {0, rows, begin, {&segment, 1}};
    const std::vector<int32_t> tokens(static_cast<size_t>(rows));
    const Step step = {tokens, {&sequence, 1}};
    attention_.rope_store({qkv.data() + int64_t{begin} * case_.qkv_cols(), DType::kF32, rows,
                           case_.qkv_cols(), case_.qkv_cols()},
                          step, {}, 1, *kv_);
  }

  const AttentionCase& case_;
  ThreadPool pool_;
  CpuAttention attention_;
  AttentionTasks plan_;
  Random random_;
  std::unique_ptr<CpuKvStorage> kv_;
  std::vector<PageId> free_;
  std::vector<std::vector<PageId>> block_pages_;
  std::vector<std::vector<PageId>> own_pages_;
};

// Half-split rotation of x by `position`, times the factor, in Real.
template <typename Real>
void rotate(const AttentionConfig& config, int64_t position, double factor, std::vector<Real>& x) {
  const size_t half = config.inv_freq.size();
  for (size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * config.inv_freq[i];
    const Real cos = static_cast<Real>(std::cos(angle) * factor);
    const Real sin = static_cast<Real>(std::sin(angle) * factor);
    const Real x1 = x[i];
    const Real x2 = x[half + i];
    x[i] = x1 * cos - x2 * sin;
    x[half + i] = x2 * cos + x1 * sin;
  }
}

// The plain formula for one row and head: all visible keys at their global positions, one softmax.
// K and V as the pages hold them (rotated locally and rounded), so the keys are rotated on by their
// segment's offset.
template <typename Real>
std::vector<Real> plain_attention(const AttentionCase& c, const AttentionSetup& setup, size_t s,
                                  int32_t row, int32_t head) {
  const CaseSequence& sequence = c.sequences[s];
  const AttentionConfig& config = c.config;
  const auto dims = static_cast<size_t>(config.head_dim);
  const int32_t kv_head = head / c.group();
  const int32_t local = sequence.local_begin + row;
  const int64_t position = sequence.offset + local;
  const auto q_at =
      sequence.own.qkv.begin() + int64_t{local} * c.qkv_cols() + int64_t{head} * config.head_dim;
  std::vector<Real> q(q_at, q_at + config.head_dim);
  rotate<Real>(config, position, config.rope_attention_factor, q);

  std::vector<Real> scores;
  std::vector<std::vector<Real>> values;
  const auto visit = [&](const std::vector<PageId>& pages, int32_t offset, int32_t length) {
    for (int32_t j = 0; j < length; ++j) {
      if (c.window > 0 && position - offset - j >= c.window) continue;
      std::vector<Real> k(dims);
      std::vector<Real> v(dims);
      for (size_t i = 0; i < dims; ++i) {
        k[i] = static_cast<Real>(setup.k_at(pages, j, kv_head, static_cast<int32_t>(i)));
        v[i] = static_cast<Real>(setup.v_at(pages, j, kv_head, static_cast<int32_t>(i)));
      }
      rotate<Real>(config, offset, 1, k);
      Real score = 0;
      for (size_t i = 0; i < dims; ++i) score += q[i] * k[i];
      scores.push_back(score * static_cast<Real>(config.scale));
      values.push_back(std::move(v));
    }
  };
  for (const BlockUse& use : sequence.earlier) {
    visit(setup.block_pages(use.block), use.offset, c.blocks[use.block].tokens);
  }
  visit(setup.own_pages(s), sequence.offset, local + 1);

  const Real max = *std::max_element(scores.begin(), scores.end());
  Real sum = 0;
  std::vector<Real> out(dims, Real{0});
  for (size_t j = 0; j < scores.size(); ++j) {
    const Real weight = std::exp(scores[j] - max);
    sum += weight;
    for (size_t i = 0; i < dims; ++i) out[i] += weight * values[j][i];
  }
  for (Real& x : out) x /= sum;
  return out;
}

}  // namespace block_attention::test
