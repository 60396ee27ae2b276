// Whether a matrix has values so much greater than their neighbours that groups of 64 would spoil
// it.
#pragma once

#include "core/tensor.hpp"

namespace block_attention {

// How much more groups of 64 along the rows lose by rounding than groups of 32 do: the mean square
// of the greatest magnitudes of the former over that of the latter. About 1.3 for normal values, 2
// where single values rule their groups. Told from up to 64 rows, evenly spread.
double group_outliers(const HostMatrix& matrix);

}  // namespace block_attention
