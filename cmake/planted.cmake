# Bugs planted into copies of the kernels, and program cuda_planted_tests, which shows that each of them is found: by a check
# of the emulation, or by a wrong value.
#
# plant_bug(<kernel> <name> <found by> <file> <old> <new>) replaces <old>, which occurs once in <file>, by <new>.
# <found by> is a regular expression for what must be said of it. The kernel without a bug is one more, which nothing must
# be said of.

# The files of a kernel, in the order in which they are included. The driver test/native/cuda/planted/<kernel>.hpp runs it and
# says what is wrong with it; register.hpp behind it makes that a test.
set(planted_files_linear_mma chunk_offset.cuh linear_mma.cuh)
set(planted_files_rms_norm rms_norm.cu)
set(planted_files_copy_pages copy_pages.cu)
set(planted_files_attention_mma attention_rows.cuh attention_mma.cuh)
set(planted_files_attention_wgmma attention_rows.cuh attention_key_boxes.cuh attention_wgmma.cuh)
set(planted_files_sampling
  sampling_rows.hpp sampling_shared.cuh sampling_passes.cuh sampling_kernel.cuh sampling.hpp sampling.cu)

set(planted_sources "")

function(plant_bug kernel name found_by file old new)
  set(namespace "planted_${kernel}_${name}")
  set(folder "${CMAKE_BINARY_DIR}/planted/${kernel}/${name}")
  set(wrapper "${folder}/wrapper.cpp")
  set(includes "")
  set(copies "")
  foreach(source ${planted_files_${kernel}})
    set(from "${CMAKE_SOURCE_DIR}/native/cuda/${source}")
    set(replacement "")
    set(texts "")
    if(source STREQUAL file)
      set(texts "${folder}/old.txt" "${folder}/new.txt")
      file(CONFIGURE OUTPUT "${folder}/old.txt" CONTENT "${old}" @ONLY)
      file(CONFIGURE OUTPUT "${folder}/new.txt" CONTENT "${new}" @ONLY)
      set(replacement -DOLD=${folder}/old.txt -DNEW=${folder}/new.txt)
    endif()
    add_custom_command(OUTPUT "${folder}/${source}"
      COMMAND ${CMAKE_COMMAND} -DFROM=${from} -DTO=${folder}/${source} -DNAMESPACE=${namespace}
        -DFOLDER=${folder} "-DCOPIED=${planted_files_${kernel}}" ${replacement}
        -P "${CMAKE_SOURCE_DIR}/cmake/plant.cmake"
      DEPENDS "${from}" "${CMAKE_SOURCE_DIR}/cmake/plant.cmake" ${texts}
      VERBATIM)
    list(APPEND copies "${folder}/${source}")
    string(APPEND includes "#include \"${folder}/${source}\"\n")
  endforeach()
  file(CONFIGURE OUTPUT "${wrapper}" CONTENT
"#define PLANTED ${namespace}
#define PLANTED_NAME \"${kernel}_${name}\"
#define PLANTED_FOUND_BY \"${found_by}\"
${includes}#include \"planted/${kernel}.hpp\"
#include \"planted/register.hpp\"
#undef PLANTED
#undef PLANTED_NAME
#undef PLANTED_FOUND_BY
" @ONLY)
  set_source_files_properties("${wrapper}" PROPERTIES OBJECT_DEPENDS "${copies}")
  set(planted_sources ${planted_sources} "${wrapper}" PARENT_SCOPE)
endfunction()

# ---- linear_mma

plant_bug(linear_mma none "" "" "" "")
plant_bug(linear_mma no_barrier_in_the_loop "race" linear_mma.cuh
[[        cp_async_wait<Tile::kStages - 2>();
        syncthreads();
]]
[[        cp_async_wait<Tile::kStages - 2>();
]])
plant_bug(linear_mma wait_one_too_short "still writing" linear_mma.cuh
  "cp_async_wait<Tile::kStages - 2>();" "cp_async_wait<Tile::kStages - 1>();")
plant_bug(linear_mma no_first_wait "still writing" linear_mma.cuh
[[  cp_async_wait<Tile::kStages - 1>();
  syncthreads();
]]
[[  syncthreads();
]])
plant_bug(linear_mma no_first_barrier "race|still writing|nobody wrote" linear_mma.cuh
[[  cp_async_wait<Tile::kStages - 1>();
  syncthreads();
]]
[[  cp_async_wait<Tile::kStages - 1>();
]])
plant_bug(linear_mma no_commit_in_the_loop "still writing" linear_mma.cuh
[[        cp_async_commit();
        if (t + 1 < tiles)]]
[[        if (t + 1 < tiles)]])
plant_bug(linear_mma slot_filled_too_early "race|still writing" linear_mma.cuh
  "          x.load(slot, first, depth);" "          x.load(next, first, depth);")
plant_bug(linear_mma ring_without_end "shared address out of bounds" linear_mma.cuh
  "    if (next == ring + Tile::kSharedBytes) next = ring;\n" "")
plant_bug(linear_mma x_fragments_swapped "wrong value" linear_mma.cuh
  "2 * step + (lane >> 4)" "2 * step + (lane >> 3 & 1)")
plant_bug(linear_mma weight_fragments_swapped "wrong value" linear_mma.cuh
  "now.weight[j][0], now.weight[j][1]" "now.weight[j][0], now.weight[j][2]")
plant_bug(linear_mma fragments_of_the_step_before "wrong value" linear_mma.cuh
[[      multiply(odd);
]]
[[      multiply(even);
]])
plant_bug(linear_mma no_row_predicate_on_the_load "global address out of bounds" linear_mma.cuh
  "valid && (valid_rows >> j & 1u) != 0" "valid")
plant_bug(linear_mma no_depth_predicate_on_the_load "wrong value|out of bounds" linear_mma.cuh
  "const bool valid = first + chunk * 8 < depth;" "const bool valid = first < depth;")
plant_bug(linear_mma no_row_predicate_on_the_store "global address out of bounds" linear_mma.cuh
  "        if (row >= arguments.rows) continue;\n" "")
plant_bug(linear_mma no_column_predicate_on_the_store "global address out of bounds|written behind" linear_mma.cuh
  "const bool both = col + 1 < arguments.out_features;" "const bool both = true;")
plant_bug(linear_mma rows_of_the_other_half "wrong value" linear_mma.cuh
  "sums[i][j][2 * half] + low" "sums[i][j][2 - 2 * half] + low")
plant_bug(linear_mma banks_that_meet "bank conflicts" chunk_offset.cuh
  "(row * kChunks + (chunk ^ (row & 7))) * 16" "(row * kChunks + (chunk ^ (row & 3))) * 16")

# ---- rms_norm

plant_bug(rms_norm none "" "" "" "")
plant_bug(rms_norm no_barrier "race|nobody wrote" rms_norm.cu
[[  syncthreads();
  float sum = 0;]]
[[  float sum = 0;]])
plant_bug(rms_norm sums_of_one_warp "nobody wrote" rms_norm.cu "if (thread % 32 == 0) sts" "if (thread == 0) sts")
plant_bug(rms_norm lanes_left_out "wrong value" rms_norm.cu
  "for (int mask = 16; mask > 0; mask /= 2) squares" "for (int mask = 16; mask > 1; mask /= 2) squares")
plant_bug(rms_norm collective_in_a_branch "divergent collective|deadlock" rms_norm.cu
  "for (int mask = 16; mask > 0; mask /= 2) squares"
  "for (int mask = 16; mask > 0 && squares > 0; mask /= 2) squares")
plant_bug(rms_norm sum_of_what_was_there "wrong value" rms_norm.cu "float squares = 0;" "float squares;")
plant_bug(rms_norm residual_not_stored "wrong value" rms_norm.cu "      store_vector(x_row + col, values);\n" "")
plant_bug(rms_norm one_vector_too_many "out of bounds|wrong value|written behind" rms_norm.cu
[[col < cols; col += kThreads * kVector) {
    float values[kVector];
    float scales]]
[[col <= cols; col += kThreads * kVector) {
    float values[kVector];
    float scales]])
plant_bug(rms_norm rows_without_their_stride "wrong value|written behind" rms_norm.cu
  "store_vector(out + row * out_stride + col, values);" "store_vector(out + row * cols + col, values);")
plant_bug(rms_norm misaligned_rows "misaligned" rms_norm.cu
  "float* x_row = x + row * x_stride;" "float* x_row = x + row * (x_stride + 1);")

# ---- attention_mma

plant_bug(attention_mma none "" "" "" "")
plant_bug(attention_mma no_barrier_in_the_loop "race|still writing|nobody wrote" attention_mma.cuh
[[      loader.await(slot);
      syncthreads();
]]
[[      loader.await(slot);
]])
plant_bug(attention_mma wait_one_too_short "still writing" attention_mma.cuh
  "cp_async_wait<Shape::kSlots - 2>();" "cp_async_wait<Shape::kSlots - 1>();")
plant_bug(attention_mma one_slot_too_many_ahead "race|still writing" attention_mma.cuh
  "for (int i = 0; i + 1 < Shape::kSlots; ++i) loader" "for (int i = 0; i < Shape::kSlots; ++i) loader")
plant_bug(attention_mma slot_filled_too_early "race|still writing" attention_mma.cuh
[[      loader.await(slot);
      syncthreads();
      loader.load(arguments, tile);
]]
[[      loader.load(arguments, tile);
      loader.await(slot);
      syncthreads();
]])
plant_bug(attention_mma keys_behind_the_last "wrong value" attention_mma.cuh
  "in_head && walk.key + row < walk.length" "in_head")
plant_bug(attention_mma stale_page "wrong value|out of bounds" attention_mma.cuh
[[        walk.next(arguments, tile);
        page = walk.lane_page();
]]
[[        walk.next(arguments, tile);
]])
plant_bug(attention_mma one_page_for_all "wrong value" attention_mma.cuh
  "shfl(page, row / kPageTokens)" "shfl(page, 0)")
plant_bug(attention_mma query_fragments_swapped "wrong value" attention_mma.cuh
  "row_offset = panel_offset<16>(lane & 15, lane >> 4);"
  "row_offset = panel_offset<16>((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);")
plant_bug(attention_mma key_fragments_swapped "wrong value" attention_mma.cuh
  "key_offset = panel_offset<16>((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);"
  "key_offset = panel_offset<16>(lane & 15, lane >> 4);")
plant_bug(attention_mma no_syncwarp_after_the_rotation "race|nobody wrote" attention_mma.cuh
[[    syncwarp();
  }
]]
[[  }
]])
plant_bug(attention_mma padding_not_cleared "nobody wrote" attention_rows.cuh
  "      sts(rotated + panel_offset<kRows>(row + lane / 2, chunk), U32x4{});\n" "")
plant_bug(attention_mma unseen_keys_not_hidden "wrong value" attention_rows.cuh
  "    if (ballot(sight.whole) != 0xffffffffu) hide_unseen(scores, sight.seen);\n" "")
plant_bug(attention_mma sums_not_rescaled "wrong value" attention_rows.cuh
  "sums[h] = fmaf(sums[h], keep[h], sum);" "sums[h] += sum;")
plant_bug(attention_mma sums_of_one_thread "wrong value" attention_rows.cuh
  "      sums[h] += shfl_xor(sums[h], 2);\n" "")
plant_bug(attention_mma segments_of_one_cut "other bits|wrong value" attention_mma.cuh
  "new_cut = walk.over() || walk.segment != segment || walk.cut() != cut;"
  "new_cut = walk.over() || walk.cut() / 8 != cut / 8;")
plant_bug(attention_mma entries_of_one_span "other bits|wrong value" attention_rows.cuh
[[    clear_entry();
    // What one lane]]
[[    // What one lane]])
plant_bug(attention_mma entries_not_joined "other bits|wrong value" attention_rows.cuh
  "const bool joins = results_wanted && entry > 0;" "const bool joins = false;")
plant_bug(attention_mma rotation_of_the_segment_alone "wrong value|other bits" attention_rows.cuh
  "    rotation += ldg(&token->rotation);\n" "")
plant_bug(attention_mma rows_beyond_the_last_stored "race|wrong value|out of bounds" attention_rows.cuh
  "      if (!exists) continue;\n" "")

# ---- attention_wgmma

plant_bug(attention_wgmma none "" "" "" "")
plant_bug(attention_wgmma no_wait_for_the_consumers "race|still reading|still writing|more arrivals|wrong value" attention_wgmma.cuh
  "        if (!first_turn) mbar_wait(Shape::done(to), to.turn ^ 1);\n" "")
plant_bug(attention_wgmma wait_for_the_wrong_turn "race|still reading|still writing|more arrivals|wrong value|deadlock" attention_wgmma.cuh
  "mbar_wait(Shape::done(to), to.turn ^ 1)" "mbar_wait(Shape::done(to), to.turn)")
plant_bug(attention_wgmma no_wait_for_the_values "race|still writing|nobody wrote|not waited for|wrong value" attention_wgmma.cuh
[[      mbar_wait(Shape::arrived(from), from.turn);
      if (works) rows.add_values(from.slot, sight);
]]
[[      if (works) rows.add_values(from.slot, sight);
]])
plant_bug(attention_wgmma one_warp_too_few_done "race|still reading|still writing|more arrivals|wrong value|deadlock" attention_wgmma.cuh
  "static_cast<uint32_t>(groups) * 4" "static_cast<uint32_t>(groups) * 4 - 1")
plant_bug(attention_wgmma all_groups_awaited "deadlock" attention_wgmma.cuh
  "static_cast<uint32_t>(groups) * 4" "static_cast<uint32_t>(Shape::kGroups) * 4")
plant_bug(attention_wgmma no_barrier_after_the_inits "not initialised|race" attention_wgmma.cuh
[[    fence_mbar_init();
  }
  syncthreads();
]]
[[    fence_mbar_init();
  }
]])
plant_bug(attention_wgmma queries_not_fenced "no fence_proxy_async" attention_wgmma.cuh
[[    fence_proxy_async();
    sync_group();
]]
[[    sync_group();
]])
plant_bug(attention_wgmma registers_not_fenced "wgmma without wgmma_fence" attention_wgmma.cuh
[[    wgmma_fence(sums);
#pragma unroll
    for (int k = 0; k < kDimSteps; ++k) {]]
[[#pragma unroll
    for (int k = 0; k < kDimSteps; ++k) {]])
plant_bug(attention_wgmma scores_read_too_early "accumulator|wgmma" attention_wgmma.cuh
[[k > 0);
    }
    wgmma_commit();
    wgmma_wait<0>(sums);
]]
[[k > 0);
    }
    wgmma_commit();
]])
plant_bug(attention_wgmma scores_on_top_of_others "wrong value" attention_wgmma.cuh "kEightRows), k > 0);" "kEightRows), true);")
plant_bug(attention_wgmma key_panels_swapped "wrong value" attention_wgmma.cuh
  "slot + panel * kKeyPanel + step" "slot + (1 - panel) * kKeyPanel + step")
plant_bug(attention_wgmma values_of_one_panel "wrong value|nobody wrote|out of bounds" attention_wgmma.cuh
  "2 * kEightRows, kKeyPanel, kEightRows)" "2 * kEightRows, 2 * kEightRows, kEightRows)")
plant_bug(attention_wgmma group_that_skips_too_much "wrong value" attention_wgmma.cuh
  "visible_keys(walk.rotation + highest_rotation, walk.length, arguments.window).last"
  "visible_keys(walk.rotation + lowest_rotation, walk.length, arguments.window).last")
plant_bug(attention_wgmma tail_not_cleared "wrong value|nobody wrote" attention_key_boxes.cuh
  "      copy_tail(arguments, last_page, keys, pages * kPageTokens, slot);\n" "")
plant_bug(attention_wgmma tail_not_fenced "no fence_proxy_async" attention_key_boxes.cuh "    fence_proxy_async();\n" "")
plant_bug(attention_wgmma tail_of_lane_0_alone "race" attention_key_boxes.cuh
[[    // Lane 0 arrives for all.
    syncwarp();
]]
"")
plant_bug(attention_wgmma values_whole_to_the_end "wrong value" attention_key_boxes.cuh
  "values ? keys / kPageTokens : (keys + kPageTokens - 1) / kPageTokens" "(keys + kPageTokens - 1) / kPageTokens")
plant_bug(attention_wgmma bytes_of_one_panel "race|still writing|wrong value|not waited for|bytes" attention_key_boxes.cuh
  "static_cast<uint32_t>(pages * kPanels) * kBoxBytes" "static_cast<uint32_t>(pages) * kBoxBytes")
plant_bug(attention_wgmma keys_for_values "wrong value" attention_key_boxes.cuh
  "(values ? kPageTokens : 0)" "0")

# ---- copy_pages

plant_bug(copy_pages none "" "" "" "")
plant_bug(copy_pages one_piece_short "wrong value" copy_pages.cu "unit < units;" "unit + 1 < units;")
plant_bug(copy_pages first_pass_only "wrong value" copy_pages.cu "unit += kThreads)" "unit += units)")
plant_bug(copy_pages keys_alone "wrong value" copy_pages.cu "(2 * view.page_bytes / view.head_bytes)" "(view.page_bytes / view.head_bytes)")
plant_bug(copy_pages source_and_copy_swapped "wrong value|race with another block" copy_pages.cu
[[  const U32x4* from = pages + ldg(&copy->from) * page_units + part;
  U32x4* to = pages + ldg(&copy->to) * page_units + part;]]
[[  const U32x4* from = pages + ldg(&copy->to) * page_units + part;
  U32x4* to = pages + ldg(&copy->from) * page_units + part;]])

# ---- sampling

plant_bug(sampling none "" "" "" "")
plant_bug(sampling no_barrier_before_the_sum "race|nobody wrote" sampling_shared.cuh
[[  const int32_t lane = lane_id();
  syncthreads();
  for (int32_t group]]
[[  const int32_t lane = lane_id();
  for (int32_t group]])
plant_bug(sampling no_syncwarp_after_the_group "race|nobody wrote" sampling_shared.cuh
[[    syncwarp();
    const U32x4 group]]
[[    const U32x4 group]])
plant_bug(sampling high_halves_lost "wrong value" sampling_shared.cuh
  "  if (high != 0) atomic_add_shared(shared + kHighHalves + 4 * bucket, high);\n" "")
plant_bug(sampling buckets_cleared_too_early "race" sampling_passes.cuh
[[    // Others may go on to clear it.
    syncthreads();
]]
"")
plant_bug(sampling no_barrier_between_the_peaks "race|nobody wrote" sampling_passes.cuh
[[static_cast<uint32_t>(warp_id()), best);
  syncthreads();
]]
[[static_cast<uint32_t>(warp_id()), best);
]])
plant_bug(sampling rows_aligned_to_nothing "misaligned" sampling_passes.cuh
  "row.misaligned = static_cast<int32_t>(reinterpret_cast<uintptr_t>(logits) / sizeof(float) % 4);"
  "row.misaligned = 0;")
plant_bug(sampling tail_not_cut_off "wrong value|out of bounds|race with another block" sampling_passes.cuh
  "begin >= 0 && begin + kPiece <= row.vocab" "begin >= 0 && begin <= row.vocab")
plant_bug(sampling count_not_cleared "nobody wrote" sampling_kernel.cuh
  "  if (threadIdx.x == 0) sts<uint32_t>(appended, 0);\n" "")
plant_bug(sampling no_barrier_between_bias_and_penalties "race in global memory" sampling_kernel.cuh
[[  syncthreads();
  const int32_t counts = ldg(&task->counts);]]
[[  const int32_t counts = ldg(&task->counts);]])
plant_bug(sampling no_barrier_between_the_restored "race in global memory|wrong value" sampling_kernel.cuh
[[  syncthreads();
  const int32_t biases = ldg(&task->biases);]]
[[  const int32_t biases = ldg(&task->biases);]])

# ---- the program

add_executable(cuda_planted_tests
  test/native/cuda/planted/planted_test.cpp test/native/cuda/planted/attention_launcher.cpp ${planted_sources})
target_include_directories(cuda_planted_tests PRIVATE test/native test/native/cuda)
# Several to a compilation: most of what is compiled is the headers that they share.
set_target_properties(cuda_planted_tests PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 10)
# Some bugs are such that the compiler warns of them.
target_compile_options(cuda_planted_tests PRIVATE -Wno-uninitialized -Wno-maybe-uninitialized -Wno-unused)
target_link_libraries(cuda_planted_tests PRIVATE cuda_emulated GTest::gtest GTest::gtest_main)
gtest_discover_tests(cuda_planted_tests NO_PRETTY_VALUES DISCOVERY_MODE PRE_TEST WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")

# A bug whose text is gone from its kernel must not go unnoticed.
file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/planted/gone.txt" CONTENT "nothing says this" @ONLY)
add_test(NAME planted_bug_that_replaces_nothing
  COMMAND ${CMAKE_COMMAND} -DFROM=${CMAKE_SOURCE_DIR}/native/cuda/rms_norm.cu -DTO=${CMAKE_BINARY_DIR}/planted/gone.cu
    -DNAMESPACE=gone -DOLD=${CMAKE_BINARY_DIR}/planted/gone.txt -DNEW=${CMAKE_BINARY_DIR}/planted/gone.txt
    -P ${CMAKE_SOURCE_DIR}/cmake/plant.cmake)
set_tests_properties(planted_bug_that_replaces_nothing PROPERTIES
  PASS_REGULAR_EXPRESSION "no[ \n]+longer[ \n]+holds[ \n]+what[ \n]+the[ \n]+planted")
