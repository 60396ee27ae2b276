// How int8 weights and activations are kept, and how they are multiplied.
//
// Inputs come in groups of 64. A group of a weight's row has one scale, a bfloat16: the least one
// that leaves no value beyond 127, or one of the next seven, whichever rounds the group best. A
// group of a row of activations has one, a float32: the greatest magnitude over 254, since they
// have nine bits, a sign and a magnitude, which costs products little and quarters what rounding
// them does. Values are rounded to nearest even. Products of a group are summed as integers, which
// is exact, and the groups' sums are added in order:
//
//   total = fma(float(sum of q_x * q_w) * scale_x, scale_w, total)
//
// A group of activations with an outlier, whose greatest magnitude says little of the others, has a
// second term: what the first one left, in steps of 1/508 of its own, added right after it. None
// has a group so large that what the first term stands for can pass float32's greatest number.
//
// so that every output element has the same bits whatever the rows of the call, the threads and,
// where multiply-adds are fused, the instruction set. The bias comes last.
#pragma once

#include <cstdint>

#include "cpu/isa.hpp"

namespace block_attention {

inline constexpr int64_t kInt8Group = 64;
inline constexpr int32_t kInt8Max = 127;
// Of an activation: twice as much, so that it is the sum of two signed bytes.
inline constexpr int32_t kInt8ActivationMax = 2 * kInt8Max;
// Scales that are tried for a group of weights. Rounding errors of 64 values differ much from one
// to the next, and the greatest of eight scales is at most 6% coarser than the least: together they
// err as groups of 32 values with the least scale do (Q8_0). Twice as many gain nothing more.
inline constexpr int32_t kInt8Scales = 8;
// Errors are compared in such parts of a scale, as integers, so that every CPU makes the same
// choice.
inline constexpr float kInt8ErrorSteps = 1024.0f;
// A group without a greater magnitude is all zero: its inverse scale could not be represented.
inline constexpr float kInt8Smallest = 1e-30f;

// The greatest magnitude of a group of activations without an outlier is at most so many times the
// root of its mean square: of 64 normal values it is 2.4 as a rule. Rounding then costs no group
// more than blocks of 32 values (Q8_0) cost at their worst, where one value is all there is:
// sqrt(32) = 5.7. A lower limit would catch many groups of a SwiGLU, whose products have long
// tails.
inline constexpr int64_t kInt8Outlier = 6;
// Steps of a second term in one of the first.
inline constexpr float kInt8SecondSteps = 2 * kInt8ActivationMax;
// The greatest scale of a group that can have a second term: what is left of a value can then be
// told in float32, and fits a second term as a value fits a first one.
inline constexpr float kInt8SecondMostScale = 0x1p119f;
static_assert(kInt8ActivationMax * kInt8SecondMostScale < 0x1p127f);

// How many inputs one instruction multiplies and adds up, and so lie side by side.
enum class Int8Dot : uint8_t {
  // Two, widened to 16 bits: every CPU has that. Activations are kept as words of 16 bits.
  kPairs,
  // Four, unsigned by signed bytes (VNNI). An activation is kept as a byte of its magnitude and a
  // byte of its sign, 0 or -1: its product is that of the magnitude with the exclusive or of weight
  // and sign. Of a negative one this is the product with -weight - 1, so that the magnitudes of
  // negative activations are added to the sum of a group.
  kQuads,
  // Four, signed bytes, for 16 rows and 16 features and a whole group at once (AMX, beside AVX-512
  // alone). An activation is kept as two bytes, either of them half of it. Products of few rows are
  // made by the instruction of kQuads, from activations kept for it.
  kAmx,
};

// The best one of those that the CPU has beside `isa`, and that the system lets this process use.
Int8Dot best_int8_dot(Isa isa);

constexpr int64_t dot_inputs(Int8Dot dot) { return dot == Int8Dot::kPairs ? 2 : 4; }
// Of a group of a row of activations, however they are kept: 64 words (kPairs); magnitudes and
// signs (kQuads), or either halves (kAmx), 64 bytes and 64 bytes.
inline constexpr int64_t kInt8RowBytes = 2 * kInt8Group;

constexpr int64_t int8_groups(int64_t in_features) {
  return (in_features + kInt8Group - 1) / kInt8Group;
}

}  // namespace block_attention
