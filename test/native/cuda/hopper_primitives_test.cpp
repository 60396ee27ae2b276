// The primitives of native/cuda/primitives_sm90.cuh one by one, against what NVIDIA's PTX ISA says
// of the instructions, and what the kernels rely on beyond that: wgmma adds as mma.sync does. On a
// card this tests the instructions' text; on the CPU, the emulation.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "device_array.hpp"
#include "half_precision.hpp"
#include "hopper_primitives_kernels.hpp"
#include "support.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::Random;

class HopperPrimitivesTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    const DeviceProperties& properties = device().properties();
    if (properties.compute_capability != 90) GTEST_SKIP() << properties.name << " is no Hopper";
  }

  // How many blocks a kernel gets: an emulated one takes milliseconds.
  uint32_t blocks(uint32_t on_a_card) {
    return device().properties().name == "emulated GPU" ? 2 : on_a_card;
  }
};

// ---- wgmma

// Powers of two that numbers lie between.
struct Exponents {
  int lowest;
  int highest;
};
constexpr Exponents kModerate = {-4, 1};

// As wide as products may be whose sums are finite; with f16, its subnormal numbers too.
Exponents wide(DType dtype) {
  return dtype == DType::kBF16 ? Exponents{-50, 50} : Exponents{-15, 15};
}

uint16_t random_half(Random& random, DType dtype, Exponents exponents) {
  const uint64_t bits = random.bits();
  if (bits >> 60 == 0) return 0;
  const int fraction_bits = dtype == DType::kBF16 ? 7 : 10;
  const int bias = dtype == DType::kBF16 ? 127 : 15;
  const auto range = static_cast<uint64_t>(exponents.highest - exponents.lowest + 1);
  const auto exponent = static_cast<uint32_t>(bias + exponents.lowest +
                                              static_cast<int>((bits >> 16 & 0xfffff) % range));
  const auto fraction = static_cast<uint32_t>(bits) & ((1u << fraction_bits) - 1);
  return static_cast<uint16_t>((bits >> 15 & 1) << 15 | exponent << fraction_bits | fraction);
}

std::vector<uint16_t> random_halves(Random& random, DType dtype, Exponents exponents,
                                    size_t count) {
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) value = random_half(random, dtype, exponents);
  return values;
}

struct ProductInputs {
  std::vector<uint16_t> a;
  std::vector<uint16_t> b;
  std::vector<float> d;  // empty: not added, and NaN
};

// Against float64: each result within what products of a depth of 16 may round.
void expect_near(const ProductShape& shape, const ProductInputs& in, const std::vector<float>& got,
                 uint32_t product) {
  constexpr int kSteps = kProductDepth / 16;
  const int cols = shape.cols;
  const auto depth = static_cast<size_t>(kProductDepth);
  const size_t a = product * kProductRows * depth;
  const size_t b = product * static_cast<size_t>(cols) * depth;
  const size_t d = product * static_cast<size_t>(kProductRows * cols);
  for (int row = 0; row < kProductRows; ++row) {
    for (int col = 0; col < cols; ++col) {
      const size_t at = d + static_cast<size_t>(row * cols + col);
      double sum = in.d.empty() ? 0 : double{in.d[at]};
      double size = std::abs(sum);
      for (int k = 0; k < kProductDepth; ++k) {
        const int in_b = shape.transposed_b ? k * cols + col : col * kProductDepth + k;
        const double term =
            double{load_as_f32(in.a.data(), shape.dtype,
                               a + static_cast<size_t>(row * kProductDepth + k))} *
            double{load_as_f32(in.b.data(), shape.dtype, b + static_cast<size_t>(in_b))};
        sum += term;
        size += std::abs(term);
      }
      // As of mma_m16n8k16, for each step.
      ASSERT_LE(std::abs(double{got[at]} - sum), kSteps * 16 * 0x1p-23 * size)
          << "product " << product << " row " << row << " column " << col;
    }
  }
}

void expect_same_bits(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  size_t others = 0;
  size_t first = 0;
  for (size_t i = got.size(); i-- > 0;) {
    if (std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(want[i])) continue;
    ++others;
    first = i;
  }
  ASSERT_EQ(others, 0u) << "of " << got.size() << ", first " << got[first] << " and not "
                        << want[first] << " at " << first;
}

void check_products(Device& device, const ProductShape& shape, const ProductInputs& in) {
  const DeviceArray<uint16_t> a(device, in.a);
  const DeviceArray<uint16_t> b(device, in.b);
  const size_t results = size_t{shape.count} * static_cast<size_t>(kProductRows * shape.cols);
  const auto sums = [&] {
    return in.d.empty() ? DeviceArray<float>(device, results) : DeviceArray<float>(device, in.d);
  };
  const DeviceArray<float> by_mma = sums();
  run_mma_chain(device, shape, a.data(), b.data(), by_mma.data());
  const std::vector<float> chain = by_mma.read();
  for (const bool registers_a : {false, true}) {
    SCOPED_TRACE(registers_a ? "a in registers" : "a in shared memory");
    const DeviceArray<float> by_wgmma = sums();
    run_wgmma(device, shape, registers_a, a.data(), b.data(), by_wgmma.data());
    const std::vector<float> got = by_wgmma.read();
    // What has the chain's bits everywhere need not be held against float64 everywhere.
    for (const uint32_t product : {0u, shape.count - 1}) expect_near(shape, in, got, product);
    if (testing::Test::HasFatalFailure()) return;
    expect_same_bits(got, chain);
    if (testing::Test::HasFatalFailure()) return;
  }
}

// `count` products of each kind: B as keys and as values are stored, from nothing or added to what
// there is, both ranges of exponents.
void check_all_products(Device& device, DType dtype, int cols, uint32_t count, uint64_t seed) {
  Random random(seed);
  for (const Exponents& exponents : {kModerate, wide(dtype)}) {
    ProductInputs in;
    in.a = random_halves(random, dtype, exponents, size_t{count} * kProductRows * kProductDepth);
    in.b = random_halves(random, dtype, exponents,
                         size_t{count} * kProductDepth * static_cast<size_t>(cols));
    for (const bool accumulates : {false, true}) {
      if (accumulates) {
        in.d.resize(size_t{count} * kProductRows * static_cast<size_t>(cols));
        for (float& sum : in.d) {
          const auto exponent = random.between(2 * exponents.lowest, 2 * exponents.highest);
          sum = std::ldexp(static_cast<float>(random.between(-(1 << 24), 1 << 24)),
                           static_cast<int>(exponent) - 24);
        }
      }
      for (const bool transposed_b : {false, true}) {
        SCOPED_TRACE(testing::Message()
                     << dtype_name(dtype) << ", " << cols << " columns, exponents from "
                     << exponents.lowest << (transposed_b ? ", b [k][n]" : ", b [n][k]")
                     << (accumulates ? ", added" : "") << ", seed " << seed);
        check_products(device, {dtype, cols, transposed_b, accumulates, count}, in);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(HopperPrimitivesTest, WgmmaOf64ColumnsHasTheBitsOfAChainOfMma) {
  for (const DType dtype : kHalfTypes) {
    check_all_products(device(), dtype, 64, blocks(512), 171);
    if (HasFatalFailure()) return;
  }
}

TEST_F(HopperPrimitivesTest, WgmmaOf128ColumnsHasTheBitsOfAChainOfMma) {
  for (const DType dtype : kHalfTypes) {
    check_all_products(device(), dtype, 128, blocks(512), 172);
    if (HasFatalFailure()) return;
  }
}

// ---- TMA

// None of them zero, so that zeros are a copy's own.
std::vector<uint16_t> random_matrix(Random& random, int rows, int cols) {
  std::vector<uint16_t> values(static_cast<size_t>(rows * cols));
  for (uint16_t& value : values) value = static_cast<uint16_t>(random.bits() | 1);
  return values;
}

// The elements of a box, zeros outside of the matrix.
std::vector<uint16_t> expected_box(const std::vector<uint16_t>& matrix, int rows, int cols, int x,
                                   int y) {
  std::vector<uint16_t> box;
  for (int row = y; row < y + kBoxRows; ++row) {
    for (int col = x; col < x + kBoxCols; ++col) {
      const bool inside = 0 <= row && row < rows && 0 <= col && col < cols;
      box.push_back(inside ? matrix[static_cast<size_t>(row * cols + col)] : uint16_t{0});
    }
  }
  return box;
}

TEST_F(HopperPrimitivesTest, TmaPlacesBoxesInPanels) {
  Random random(173);
  constexpr int kRows = 50;
  for (const int cols : {64, 80, 128}) {
    const std::vector<uint16_t> matrix = random_matrix(random, kRows, cols);
    // Columns and rows. The last boxes have one row, none, and begin in front of the matrix.
    const std::vector<int32_t> places = {0, 0,  64, 0,  0, 16, 64, 16, 0, 7,  64, 7,
                                         0, 37, 64, 37, 0, 49, 64, 49, 0, 50, 0,  -5};
    const auto count = static_cast<int>(places.size() / 2);
    const DeviceArray<uint16_t> device_matrix(device(), matrix);
    const DeviceArray<int32_t> device_places(device(), places);
    const DeviceArray<uint16_t> out(device(), static_cast<size_t>(count * kBoxRows * kBoxCols));
    run_box_copies(device(), {device_matrix.data(), kRows, cols}, count, device_places.data(),
                   out.data());
    const std::vector<uint16_t> got = out.read();
    size_t at = 0;
    for (size_t i = 0; i < places.size(); i += 2) {
      for (const uint16_t want : expected_box(matrix, kRows, cols, places[i], places[i + 1])) {
        ASSERT_EQ(got[at], want) << cols << " columns, box at " << places[i] << " " << places[i + 1]
                                 << ", element " << at % (kBoxRows * kBoxCols);
        ++at;
      }
    }
  }
}

// ---- mbarrier

TEST_F(HopperPrimitivesTest, MbarriersHandARingOver) {
  Random random(174);
  const uint32_t producers = blocks(256);
  // Less than a turn; whole turns; an even and an odd number of turns and a bit.
  for (const int boxes : {2, 3, 7, 40, 41}) {
    const int all = static_cast<int>(producers) * boxes;
    const std::vector<uint16_t> matrix = random_matrix(random, all * kBoxRows, kBoxCols);
    std::vector<uint32_t> numbers(static_cast<size_t>(all) * 32);
    for (uint32_t& number : numbers) number = static_cast<uint32_t>(random.bits());
    const DeviceArray<uint16_t> device_matrix(device(), matrix);
    const DeviceArray<uint32_t> device_numbers(device(), numbers);
    const DeviceArray<uint16_t> out(device(), matrix.size());
    const DeviceArray<uint32_t> numbers_out(device(), static_cast<size_t>(all) * kRingThreads);
    run_ring(device(), {device_matrix.data(), all * kBoxRows, kBoxCols}, producers, boxes,
             device_numbers.data(), out.data(), numbers_out.data());
    ASSERT_EQ(out.read(), matrix) << boxes << " boxes";
    const std::vector<uint32_t> got = numbers_out.read();
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], numbers[i / kRingThreads * 32 + 31 - i % 32]) << boxes << " boxes, " << i;
    }
  }
}

// ---- slots that are filled in two ways

// Integers, whose sums are exact.
std::vector<uint16_t> small_integers(Random& random, size_t count) {
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) value = f32_to_bf16(static_cast<float>(random.between(-15, 15)));
  return values;
}

TEST_F(HopperPrimitivesTest, WgmmaReadsWhatTwoKindsOfCopiesWrote) {
  Random random(175);
  const uint32_t producers = blocks(128);
  constexpr int kSide = 64;
  constexpr size_t kElements = size_t{kSide} * kSide;
  constexpr int kSteps = 11;
  const size_t all = size_t{producers} * kSteps;
  const std::vector<uint16_t> a = small_integers(random, kElements);
  const std::vector<uint16_t> rows = small_integers(random, all * kElements);
  std::vector<int32_t> lengths(all);
  for (int32_t& length : lengths) {
    length = static_cast<int32_t>(random.chance(0.2) ? kSide : random.between(0, kSide));
  }
  const DeviceArray<uint16_t> device_a(device(), a);
  const DeviceArray<uint16_t> device_rows(device(), rows);
  const DeviceArray<int32_t> device_lengths(device(), lengths);
  const auto number = [](const std::vector<uint16_t>& of, size_t i) { return bf16_to_f32(of[i]); };
  for (const bool transposed_b : {false, true}) {
    const DeviceArray<float> d(device(), all * kElements);
    run_mixed_slots(device(), {device_rows.data(), static_cast<int>(all) * kSide, kSide},
                    transposed_b, producers, kSteps, device_lengths.data(), device_a.data(),
                    d.data());
    const std::vector<float> got = d.read();
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t step = i / kElements;
      const size_t row = i / kSide % kSide;
      const size_t col = i % kSide;
      const auto length = static_cast<size_t>(lengths[step]);
      float want = 0;
      for (size_t k = 0; k < kSide; ++k) {
        const size_t slot_row = transposed_b ? k : col;
        const size_t slot_col = transposed_b ? col : k;
        if (slot_row >= length) continue;
        want += number(a, row * kSide + k) *
                number(rows, step * kElements + slot_row * kSide + slot_col);
      }
      ASSERT_EQ(got[i], want) << "step " << step << " of " << length << " rows, row " << row
                              << " column " << col << " transposed " << transposed_b;
    }
  }
}

}  // namespace
}  // namespace block_attention::cuda::test
