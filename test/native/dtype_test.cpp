#include "core/dtype.hpp"

#include "support.hpp"

namespace block_attention::test {
namespace {

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }

// The value of a format with `mantissa` fraction bits, straight from its definition.
double value_of(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int sign = bits >> 15;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double value;
  if (exponent == (1 << exponent_bits) - 1) {
    value = mantissa != 0 ? std::nan("") : INFINITY;
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  } else {
    value = std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
  }
  return sign != 0 ? -value : value;
}

struct Format {
  const char* name;
  int exponent_bits;
  int mantissa_bits;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);

  double value(uint16_t bits) const { return value_of(bits, exponent_bits, mantissa_bits); }
  uint16_t infinity() const {
    return static_cast<uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits);
  }
};

const Format kFormats[] = {{"bf16", 8, 7, bf16_to_f32, f32_to_bf16},
                           {"f16", 5, 10, f16_to_f32, f32_to_f16}};

class DTypeTest : public ::testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(Formats, DTypeTest, ::testing::ValuesIn(kFormats),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(DTypeTest, WidensAllValuesExactly) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const uint16_t bits = static_cast<uint16_t>(i);
    const double expected = GetParam().value(bits);
    const float widened = GetParam().widen(bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(widened)) << i;
    } else {
      ASSERT_EQ(bits_of(widened), bits_of(static_cast<float>(expected))) << i;
    }
  }
}

TEST_P(DTypeTest, NarrowsWhatItWidenedToTheSameBits) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const uint16_t bits = static_cast<uint16_t>(i);
    const uint16_t back = GetParam().narrow(GetParam().widen(bits));
    if (std::isnan(GetParam().value(bits))) {
      ASSERT_TRUE(std::isnan(GetParam().value(back))) << i;
    } else {
      ASSERT_EQ(back, bits);
    }
  }
}

// Between any two neighbours: just below, at, and just above the middle. Every rounding decision
// there is.
TEST_P(DTypeTest, RoundsToNearestAndTiesToEven) {
  const Format& format = GetParam();
  for (uint16_t bits = 0; bits < format.infinity(); ++bits) {
    const uint16_t next = static_cast<uint16_t>(bits + 1);
    // The middle between the largest value and what would come after it decides about infinity.
    const double above = next == format.infinity() ? 2 * format.value(bits) - format.value(bits - 1)
                                                   : format.value(next);
    const float middle = static_cast<float>((format.value(bits) + above) / 2);
    if (double{middle} != (format.value(bits) + above) / 2) continue;  // below float32's subnormals
    const uint16_t even = bits % 2 == 0 ? bits : next;
    ASSERT_EQ(format.narrow(middle), even) << bits;
    ASSERT_EQ(format.narrow(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(format.narrow(std::nextafter(middle, kInf)), next);
    ASSERT_EQ(format.narrow(-middle), even | 0x8000);
  }
}

TEST_P(DTypeTest, RandomFloatsGoToTheNearestValue) {
  const uint64_t seed = 41;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const Format& format = GetParam();
  for (int i = 0; i < 300000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random.bits()));
    const uint16_t narrowed = format.narrow(value);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(format.value(narrowed)));
      continue;
    }
    ASSERT_EQ(narrowed >> 15, bits_of(value) >> 31);
    const uint16_t magnitude = narrowed & 0x7fff;
    const double distance = std::abs(std::abs(double{value}) - format.value(magnitude));
    if (magnitude == format.infinity()) {
      ASSERT_GT(std::abs(double{value}), format.value(static_cast<uint16_t>(magnitude - 1)));
      continue;
    }
    if (magnitude > 0) {
      ASSERT_LE(distance, std::abs(std::abs(double{value}) -
                                   format.value(static_cast<uint16_t>(magnitude - 1))));
    }
    ASSERT_LE(distance, std::abs(std::abs(double{value}) -
                                 format.value(static_cast<uint16_t>(magnitude + 1))));
  }
}

TEST_P(DTypeTest, KeepsInfinityAndZeroAndMakesNoInfinityOfANan) {
  const Format& format = GetParam();
  EXPECT_EQ(format.narrow(kInf), format.infinity());
  EXPECT_EQ(format.narrow(-kInf), format.infinity() | 0x8000);
  EXPECT_EQ(format.narrow(0.0f), 0);
  EXPECT_EQ(format.narrow(-0.0f), 0x8000);
  EXPECT_EQ(format.narrow(3.39e38f), format.infinity() - (format.exponent_bits == 8 ? 1 : 0));
  EXPECT_EQ(format.narrow(1e-45f), 0);
  // Payloads that vanish when the low bits are cut off, with either sign.
  for (uint32_t payload : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0x7fc00000u, 0x7f808000u}) {
    const uint16_t narrowed = format.narrow(std::bit_cast<float>(payload));
    EXPECT_TRUE(std::isnan(format.value(narrowed))) << std::hex << payload;
    EXPECT_EQ(narrowed >> 15, payload >> 31);
  }
}

#if defined(__FLT16_MANT_DIG__)
// The compiler's own half, which uses the hardware where there is one.
TEST(DTypeTest, HalfAgreesWithTheCompiler) {
  Random random(42);
  for (int i = 0; i < 300000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random.bits()));
    if (std::isnan(value)) continue;
    ASSERT_EQ(f32_to_f16(value), std::bit_cast<uint16_t>(static_cast<_Float16>(value))) << value;
  }
}
#endif

TEST(DTypeNamesTest, SizesNamesAndLoads) {
  EXPECT_EQ(dtype_size(DType::kF32), 4u);
  EXPECT_EQ(dtype_size(DType::kBF16), 2u);
  EXPECT_EQ(dtype_size(DType::kF16), 2u);
  EXPECT_STREQ(dtype_name(DType::kF32), "f32");
  EXPECT_STREQ(dtype_name(DType::kBF16), "bf16");
  EXPECT_STREQ(dtype_name(DType::kF16), "f16");
  const uint16_t halves[] = {f32_to_bf16(1.5f), f32_to_f16(1.5f)};
  EXPECT_EQ(load_as_f32(halves, DType::kBF16, 0), 1.5f);
  EXPECT_EQ(load_as_f32(halves, DType::kF16, 1), 1.5f);
  // A model file aligns its tensors to nothing.
  char bytes[9] = {};
  const float values[] = {2.5f, -3.25f};
  std::memcpy(bytes + 1, values, 8);
  EXPECT_EQ(load_as_f32(bytes + 1, DType::kF32, 0), 2.5f);
  EXPECT_EQ(load_as_f32(bytes + 1, DType::kF32, 1), -3.25f);
}

}  // namespace
}  // namespace block_attention::test
