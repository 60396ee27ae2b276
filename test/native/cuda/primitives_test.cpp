// The primitives of native/cuda/primitives.cuh one by one, against what NVIDIA's PTX ISA says of
// the instructions. On a card this tests the instructions' text; on the CPU, the emulation.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "device_array.hpp"
#include "half_precision.hpp"
#include "primitives_kernels.hpp"
#include "support.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::kInf;
using block_attention::test::kNan;
using block_attention::test::Random;

class PrimitivesTest : public DeviceTest {};

uint16_t half_bits(float value, DType dtype) {
  return dtype == DType::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
}

// ---- mma.m16n8k16

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type": element i of a lane's
// eight of A, of its four of B, of its four of C and D.
struct Place {
  int row;
  int col;
};
Place place_in_a(int lane, int i) {
  const int group = lane >> 2;
  const int in_group = lane % 4;
  const int row = (0 <= i && i < 2) || (4 <= i && i < 6) ? group : group + 8;
  const int col = i < 4 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
  return {row, col};
}
Place place_in_b(int lane, int i) {
  const int in_group = lane % 4;
  return {i < 2 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8, lane >> 2};
}
Place place_in_c(int lane, int i) {
  return {i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)};
}

struct Product {
  std::array<std::array<float, 16>, 16> a;
  std::array<std::array<float, 8>, 16> b;
  std::array<std::array<float, 8>, 16> c;
  std::array<std::array<float, 8>, 16> d;
};

void multiply(Device& device, DType dtype, Product& product) {
  std::vector<uint32_t> a(32 * 4);
  std::vector<uint32_t> b(32 * 2);
  std::vector<float> d(32 * 4);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 8; ++i) {
      const Place at = place_in_a(lane, i);
      a[static_cast<size_t>(lane * 4 + i / 2)] |=
          uint32_t{half_bits(product.a[at.row][at.col], dtype)} << (16 * (i & 1));
    }
    for (int i = 0; i < 4; ++i) {
      const Place at = place_in_b(lane, i);
      b[static_cast<size_t>(lane * 2 + i / 2)] |=
          uint32_t{half_bits(product.b[at.row][at.col], dtype)} << (16 * (i & 1));
      const Place in_c = place_in_c(lane, i);
      d[static_cast<size_t>(lane * 4 + i)] = product.c[in_c.row][in_c.col];
    }
  }
  const DeviceArray<uint32_t> device_a(device, a);
  const DeviceArray<uint32_t> device_b(device, b);
  const DeviceArray<float> device_d(device, d);
  run_mma(device, dtype, device_a.data(), device_b.data(), device_d.data());
  d = device_d.read();
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const Place at = place_in_c(lane, i);
      product.d[at.row][at.col] = d[static_cast<size_t>(lane * 4 + i)];
    }
  }
}

// Sum of a row of A times a column of B, plus C; and the sum of sizes.
std::pair<double, double> expected_product(const Product& product, int row, int col) {
  double sum = double{product.c[row][col]};
  double size = std::abs(sum);
  for (int k = 0; k < 16; ++k) {
    const double term = double{product.a[row][k]} * double{product.b[k][col]};
    sum += term;
    size += std::abs(term);
  }
  return {sum, size};
}

TEST_F(PrimitivesTest, MmaMultipliesIntegersExactly) {
  Random random(161);
  for (const DType dtype : kHalfTypes) {
    Product product;
    // No two rows or columns alike, so that no swapped index goes unseen.
    for (auto& row : product.a) {
      for (float& x : row) x = static_cast<float>(random.between(-63, 63));
    }
    for (auto& row : product.b) {
      for (float& x : row) x = static_cast<float>(random.between(-63, 63));
    }
    for (auto& row : product.c) {
      for (float& x : row) x = static_cast<float>(random.between(-100000, 100000));
    }
    multiply(device(), dtype, product);
    for (int row = 0; row < 16; ++row) {
      for (int col = 0; col < 8; ++col) {
        ASSERT_EQ(product.d[row][col], expected_product(product, row, col).first)
            << dtype_name(dtype) << " row " << row << " column " << col;
      }
    }
  }
}

TEST_F(PrimitivesTest, MmaRoundsLikeFloat32) {
  Random random(162);
  for (const DType dtype : kHalfTypes) {
    for (int round = 0; round < 20; ++round) {
      Product product;
      const float scale = std::ldexp(1.0f, static_cast<int>(random.between(-4, 4)));
      for (auto& row : product.a) {
        for (float& x : row) x = rounded(random.normal() * scale, dtype);
      }
      for (auto& row : product.b) {
        for (float& x : row) x = rounded(random.normal(), dtype);
      }
      for (auto& row : product.c) {
        for (float& x : row) x = random.normal() * scale;
      }
      multiply(device(), dtype, product);
      for (int row = 0; row < 16; ++row) {
        for (int col = 0; col < 8; ++col) {
          // Cards add exact products with a few bits more than a float and may cut them off.
          const auto [sum, size] = expected_product(product, row, col);
          ASSERT_LE(std::abs(double{product.d[row][col]} - sum), 16 * 0x1p-23 * size);
        }
      }
    }
  }
}

TEST_F(PrimitivesTest, MmaKeepsInfinitiesAndNanInTheirRowsAndColumns) {
  for (const DType dtype : kHalfTypes) {
    Product product = {};
    for (auto& row : product.a) row.fill(1);
    for (auto& row : product.b) row.fill(1);
    product.a[3][7] = kNan;
    product.b[9][5] = kInf;
    product.a[11][9] = 0;  // times infinity: NaN
    multiply(device(), dtype, product);
    for (int row = 0; row < 16; ++row) {
      for (int col = 0; col < 8; ++col) {
        const float got = product.d[row][col];
        if (row == 3 || (row == 11 && col == 5)) {
          EXPECT_TRUE(std::isnan(got)) << row << " " << col;
        } else if (col == 5) {
          EXPECT_EQ(got, kInf) << row;
        } else {
          EXPECT_EQ(got, row == 11 ? 15 : 16) << row << " " << col;
        }
      }
    }
  }
}

// ---- ldmatrix

// PTX ISA, ldmatrix: threads 8 m to 8 m + 7 give the rows of matrix m; thread t gets elements
// 2 (t % 4) and the next of row t / 4, or with .trans of column t / 4.
TEST_F(PrimitivesTest, LdmatrixGivesEveryLaneItsElements) {
  std::vector<uint32_t> rows(32 * 4);
  for (uint32_t row = 0; row < 32; ++row) {
    for (uint32_t col = 0; col < 8; ++col) {
      rows[row * 4 + col / 2] |= (row << 8 | col) << (16 * (col % 2));
    }
  }
  std::vector<int32_t> in_order(32);
  std::iota(in_order.begin(), in_order.end(), 0);
  std::vector<int32_t> mixed(32);
  for (int i = 0; i < 32; ++i) mixed[static_cast<size_t>(i)] = (11 * i + 5) % 32;
  const DeviceArray<uint32_t> device_rows(device(), rows);
  for (const std::vector<int32_t>& row_of : {in_order, mixed}) {
    const DeviceArray<int32_t> device_row_of(device(), row_of);
    for (const bool transposed : {false, true}) {
      const DeviceArray<uint32_t> out(device(), 32 * 4);
      run_ldmatrix(device(), transposed, device_rows.data(), device_row_of.data(), out.data());
      const std::vector<uint32_t> r = out.read();
      for (uint32_t lane = 0; lane < 32; ++lane) {
        for (uint32_t matrix = 0; matrix < 4; ++matrix) {
          for (uint32_t half = 0; half < 2; ++half) {
            const uint32_t across = lane % 4 * 2 + half;
            const uint32_t row = transposed ? across : lane / 4;
            const uint32_t col = transposed ? lane / 4 : across;
            const auto from = static_cast<uint32_t>(row_of[matrix * 8 + row]);
            ASSERT_EQ(r[lane * 4 + matrix] >> (16 * half) & 0xffff, from << 8 | col)
                << "lane " << lane << " matrix " << matrix << " transposed " << transposed;
          }
        }
      }
    }
  }
}

// ---- cp.async

TEST_F(PrimitivesTest, CpAsyncCopiesOrFillsWithZeros) {
  Random random(163);
  for (const int32_t pieces : {1, 64, 128, 129, 1000}) {
    std::vector<char> from(static_cast<size_t>(pieces) * 16);
    for (char& byte : from) byte = static_cast<char>(random.bits());
    std::vector<uint8_t> valid(static_cast<size_t>(pieces));
    for (uint8_t& one : valid) one = random.chance(0.7) ? 1 : 0;
    const DeviceArray<char> device_from(device(), from);
    const DeviceArray<uint8_t> device_valid(device(), valid);
    const DeviceArray<char> out(device(), from.size());
    run_cp_async(device(), pieces, device_from.data(), device_valid.data(), out.data());
    for (size_t i = 0; i < from.size(); ++i) {
      if (valid[i / 16] == 0) from[i] = 0;
    }
    ASSERT_EQ(out.read(), from) << pieces;
  }
}

// ---- warp collectives

TEST_F(PrimitivesTest, ShufflesExchangeLanes) {
  Random random(164);
  std::vector<uint32_t> in(32);
  for (uint32_t& value : in) value = static_cast<uint32_t>(random.bits());
  const DeviceArray<uint32_t> device_in(device(), in);
  const DeviceArray<ShuffleResults> device_out(device(), 32);
  run_shuffles(device(), device_in.data(), device_out.data());
  const std::vector<ShuffleResults> out = device_out.read();
  uint32_t odd = 0;
  for (uint32_t lane = 0; lane < 32; ++lane) odd |= (in[lane] & 1) << lane;
  constexpr uint32_t kDistances[] = {0, 1, 2, 4, 8, 31};
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t i = 0; i < 5; ++i) EXPECT_EQ(out[lane].by_xor[i], in[lane ^ 1u << i]);
    EXPECT_EQ(out[lane].from_lane, in[(7 * lane + 3) % 32]);
    for (uint32_t i = 0; i < 6; ++i) {
      const uint32_t from = lane < kDistances[i] ? lane : lane - kDistances[i];
      EXPECT_EQ(out[lane].from_below[i], in[from]) << "distance " << kDistances[i];
    }
    EXPECT_EQ(out[lane].ballot, odd);
    EXPECT_EQ(out[lane].wide_xor, uint64_t{in[lane ^ 16]} * 0x100000001u);
    EXPECT_EQ(out[lane].real_xor, static_cast<double>(in[lane ^ 1]) / 3);
    EXPECT_EQ(out[lane].float_xor, static_cast<float>(in[lane ^ 8]) / 3);
  }
}

// ---- conversions

// Numbers at and around every rounding boundary, and all kinds that are not numbers.
std::vector<float> hard_floats() {
  std::vector<float> values = {0.0f,
                               -0.0f,
                               kInf,
                               -kInf,
                               kNan,
                               -kNan,
                               65504.f,
                               65519.f,
                               65519.996f,
                               65520.f,
                               65536.f,
                               -65520.f,
                               3.4e38f,
                               0x1p-24f,
                               0x1.8p-24f,
                               0x1p-25f,
                               -0x1p-25f,
                               0x1p-26f,
                               0x1p-14f,
                               0x1p-126f,
                               0x1p-133f,
                               0x1p-149f,
                               0x1.fffffep127f,
                               0x1.fep127f,
                               0x1.ffp127f,
                               std::bit_cast<float>(0x7f800001u),
                               std::bit_cast<float>(0xffffffffu)};
  Random random(165);
  for (int i = 0; i < 20000; ++i) {
    uint32_t bits = static_cast<uint32_t>(random.bits());
    // Half of them ties of bf16 or f16, or next to one.
    const int64_t kind = random.between(0, 5);
    if (kind == 0) bits = (bits & 0xffff0000u) | 0x8000u;
    if (kind == 1) bits = (bits & 0xffffe000u) | 0x1000u;
    if (kind == 2) bits = ((bits & 0xffffe000u) | 0x1000u) + static_cast<uint32_t>(i % 3) - 1;
    values.push_back(std::bit_cast<float>(bits));
  }
  // The range of f16, where random exponents seldom lie.
  for (int i = 0; i < 20000; ++i) {
    values.push_back(std::ldexp(random.normal(), static_cast<int>(random.between(-26, 16))));
  }
  return values;
}

uint16_t expected_narrow(float value, DType dtype) {
  return std::isnan(value) ? uint16_t{0x7fff} : half_bits(value, dtype);
}

TEST_F(PrimitivesTest, NarrowRoundsToNearestEven) {
  const std::vector<float> values = hard_floats();
  const DeviceArray<float> in(device(), values);
  for (const DType dtype : kHalfTypes) {
    const DeviceArray<uint16_t> out(device(), values.size());
    run_narrow(device(), dtype, static_cast<int32_t>(values.size()), in.data(), out.data());
    const std::vector<uint16_t> bits = out.read();
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(bits[i], expected_narrow(values[i], dtype))
          << dtype_name(dtype) << " of " << values[i] << ", bits " << std::hex
          << std::bit_cast<uint32_t>(values[i]);
    }
  }
}

TEST_F(PrimitivesTest, PackPutsTheFirstIntoTheLowHalf) {
  std::vector<float> values = hard_floats();
  values.resize(values.size() / 2 * 2);
  const DeviceArray<float> in(device(), values);
  for (const DType dtype : kHalfTypes) {
    const DeviceArray<uint32_t> out(device(), values.size() / 2);
    run_pack(device(), dtype, static_cast<int32_t>(values.size() / 2), in.data(), out.data());
    const std::vector<uint32_t> words = out.read();
    for (size_t i = 0; i < words.size(); ++i) {
      ASSERT_EQ(words[i], expected_narrow(values[2 * i], dtype) |
                              uint32_t{expected_narrow(values[2 * i + 1], dtype)} << 16)
          << dtype_name(dtype) << " of " << values[2 * i] << " and " << values[2 * i + 1];
    }
  }
}

TEST_F(PrimitivesTest, WidenIsExact) {
  for (const DType dtype : kHalfTypes) {
    const DeviceArray<uint32_t> out(device(), 3 * 65536);
    run_widen(device(), dtype, out.data());
    const std::vector<uint32_t> bits = out.read();
    const auto same = [&](uint32_t got, uint32_t half) {
      const float expected = load_as_f32(&half, dtype, 0);
      if (std::isnan(expected)) return std::isnan(std::bit_cast<float>(got));
      return got == std::bit_cast<uint32_t>(expected);
    };
    for (uint32_t half = 0; half < 65536; ++half) {
      ASSERT_TRUE(same(bits[3 * half], half)) << dtype_name(dtype) << " " << half;
      ASSERT_TRUE(same(bits[3 * half + 1], half)) << dtype_name(dtype) << " " << half;
      ASSERT_TRUE(same(bits[3 * half + 2], half ^ 0xffff)) << dtype_name(dtype) << " " << half;
    }
  }
}

TEST_F(PrimitivesTest, Exp2IsWithinTwoUnitsAndFlushesSubnormals) {
  Random random(166);
  std::vector<float> values = {0.0f, -0.0f,   1,       -1,        127,       -125.5f,
                               -126, -126.5f, -140.0f, -149.5f,   -1000,     128.0f,
                               kInf, -kInf,   kNan,    0x1p-140f, -0x1p-140f};
  for (int i = 0; i < 20000; ++i) values.push_back(random.normal() * 40);
  const DeviceArray<float> in(device(), values);
  const DeviceArray<float> out(device(), values.size());
  run_exp2(device(), static_cast<int32_t>(values.size()), in.data(), out.data());
  const std::vector<float> got = out.read();
  for (size_t i = 0; i < values.size(); ++i) {
    const double expected = std::exp2(double{values[i]});
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(got[i]));
    } else if (expected < 0x1p-126) {
      ASSERT_EQ(got[i], 0) << values[i];
    } else {
      ASSERT_LE(block_attention::test::ulps(got[i], expected), 2) << values[i];
    }
  }
  EXPECT_EQ(got[0], 1);
  EXPECT_EQ(got[1], 1);
}

// ---- memory

TEST_F(PrimitivesTest, AtomicAddsAllCount) {
  const DeviceArray<uint32_t> counters(device(), 7);
  const DeviceArray<uint32_t> before(device(), 256);
  run_atomic_add(device(), counters.data(), before.data());
  std::vector<uint32_t> totals(7, 1000);
  for (uint32_t thread = 0; thread < 256; ++thread) totals[thread % 7] += thread;
  EXPECT_EQ(counters.read(), totals);
  // In the order of what each found, every thread found what the ones before it had left.
  const std::vector<uint32_t> found = before.read();
  for (uint32_t counter = 0; counter < 7; ++counter) {
    std::vector<std::pair<uint32_t, uint32_t>> adds;
    for (uint32_t thread = counter; thread < 256; thread += 7) {
      if (thread > 0) adds.emplace_back(found[thread], thread);
    }
    std::sort(adds.begin(), adds.end());
    uint32_t sum = 1000;
    for (const auto& [seen, added] : adds) {
      ASSERT_EQ(seen, sum);
      sum += added;
    }
  }
}

TEST_F(PrimitivesTest, LoadsAndStoresOfEverySizeMoveTheirBytes) {
  Random random(167);
  std::vector<char> bytes(128 * 64);
  for (char& byte : bytes) byte = static_cast<char>(random.bits());
  const DeviceArray<char> in(device(), bytes);
  const DeviceArray<char> out(device(), bytes.size() * 10);
  run_moves(device(), in.data(), out.data());
  const std::vector<char> moved = out.read();
  for (size_t i = 0; i < moved.size(); ++i) {
    ASSERT_EQ(moved[i], bytes[i % bytes.size()]) << "form " << i / bytes.size();
  }
}

// ---- barriers and indices

TEST_F(PrimitivesTest, NamedBarriersHandNumbersOver) {
  Random random(168);
  constexpr int32_t kCount = 9;
  std::vector<uint32_t> values(kCount * 32);
  for (uint32_t& value : values) value = static_cast<uint32_t>(random.bits());
  const DeviceArray<uint32_t> in(device(), values);
  const DeviceArray<uint32_t> out(device(), values.size());
  run_named_barriers(device(), kCount, in.data(), out.data());
  EXPECT_EQ(out.read(), values);
}

TEST_F(PrimitivesTest, ThreadsAndBlocksKnowTheirPlace) {
  constexpr uint32_t kGrid[] = {3, 4, 2};
  constexpr uint32_t kThreads = 96;
  const DeviceArray<uint32_t> out(device(), 3 * 4 * 2 * kThreads * 8);
  run_indices(device(), kGrid[0], kGrid[1], kGrid[2], kThreads, out.data());
  const std::vector<uint32_t> got = out.read();
  size_t at = 0;
  for (uint32_t z = 0; z < kGrid[2]; ++z) {
    for (uint32_t y = 0; y < kGrid[1]; ++y) {
      for (uint32_t x = 0; x < kGrid[0]; ++x) {
        for (uint32_t thread = 0; thread < kThreads; ++thread, at += 8) {
          const uint32_t want[8] = {thread, x, y, z, kThreads, kGrid[0], kGrid[1], kGrid[2]};
          for (size_t i = 0; i < 8; ++i) ASSERT_EQ(got[at + i], want[i]) << at << " " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace block_attention::cuda::test
