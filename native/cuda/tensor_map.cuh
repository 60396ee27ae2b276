// Descriptions of matrices in device memory for bulk copies of boxes.
//
// Exists twice, like the primitives: by the CUDA driver, and for the emulation.
#pragma once

#include <cstdint>

#include "cuda/primitives.cuh"

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include "cuda/check.cuh"

namespace block_attention::cuda {

using EncodeTensorMap = decltype(&cuTensorMapEncodeTiled);

// The driver's, found at run time: nothing links libcuda.
inline EncodeTensorMap encode_tensor_map() {
  static const EncodeTensorMap encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                           cudaEnableDefault, &result),
          "cudaGetDriverEntryPointByVersion");
    return reinterpret_cast<EncodeTensorMap>(found);
  }();
  if (encode == nullptr) {
    throw Error(ErrorCode::kDevice, "the NVIDIA driver has no cuTensorMapEncodeTiled; update it");
  }
  return encode;
}

// A matrix of 16-bit elements, rows one behind the other, whose boxes get the 128-byte swizzle.
// Outside of the matrix a copy finds zeros.
inline TensorMap matrix_map(const void* data, uint64_t rows, uint32_t cols, uint32_t box_rows,
                            uint32_t box_cols) {
  TensorMap map;
  const cuuint64_t sizes[] = {cols, rows};
  const cuuint64_t strides[] = {uint64_t{cols} * 2};
  const cuuint32_t box[] = {box_cols, box_rows};
  const cuuint32_t steps[] = {1, 1};
  const CUresult status = encode_tensor_map()(
      &map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 2, const_cast<void*>(data), sizes, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw Error(ErrorCode::kDevice,
                "cuTensorMapEncodeTiled failed with " + std::to_string(static_cast<int>(status)));
  }
  return map;
}

}  // namespace block_attention::cuda
#else
namespace block_attention::cuda {

inline TensorMap matrix_map(const void* data, uint64_t rows, uint32_t cols, uint32_t box_rows,
                            uint32_t box_cols) {
  return {data,
          2,
          {cols, static_cast<uint32_t>(rows), 0},
          {2, uint64_t{cols} * 2, 0},
          {box_cols, box_rows, 0},
          true};
}

}  // namespace block_attention::cuda
#endif
