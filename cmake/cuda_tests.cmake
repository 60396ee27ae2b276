# The tests of test/native/cuda on the first real GPU: program cuda_tests, whose tests skip where there is none.
file(GLOB cuda_test_sources CONFIGURE_DEPENDS test/native/cuda/*_test.cpp)
file(GLOB cuda_test_kernels CONFIGURE_DEPENDS test/native/cuda/*.cu)
add_executable(cuda_tests ${cuda_test_sources} ${cuda_test_kernels})
target_include_directories(cuda_tests PRIVATE test/native test/native/cuda)
target_compile_options(cuda_tests PRIVATE ${cuda_compile_options})
target_link_libraries(cuda_tests PRIVATE block_attention_cuda block_attention_cpu GTest::gtest GTest::gtest_main)
gtest_discover_tests(cuda_tests TEST_PREFIX gpu. NO_PRETTY_VALUES DISCOVERY_MODE PRE_TEST
  WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
