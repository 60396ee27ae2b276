# The addon for Node: target block_attention, with the CUDA backend if that is built.
if(NOT CMAKE_JS_INC)
  message(FATAL_ERROR
    "The addon is built through cmake-js (npm run build:native). Without it: -DBLOCK_ATTENTION_ADDON=OFF.")
endif()
set(addon_folder "${CMAKE_SOURCE_DIR}/build/$<IF:$<CONFIG:Debug>,Debug,Release>")
if(BLOCK_ATTENTION_SANITIZE)
  set(addon_folder "${CMAKE_BINARY_DIR}")
endif()
set(BLOCK_ATTENTION_ADDON_FOLDER "${addon_folder}" CACHE STRING "Folder of the addon; `bindings` looks in build/Release (lib/native.ts)")

file(GLOB addon_sources CONFIGURE_DEPENDS native/addon/*.cpp)

# An addon of this name over the backends of the libraries that follow.
function(add_node_addon name)
  add_library(${name} MODULE ${addon_sources})
  target_link_libraries(${name} PRIVATE ${ARGN})
  target_include_directories(${name} SYSTEM PRIVATE ${CMAKE_JS_INC})
  target_compile_definitions(${name} PRIVATE
    NAPI_VERSION=9
    NAPI_CPP_EXCEPTIONS
    NODE_ADDON_API_DISABLE_DEPRECATED
    # worker.terminate() during a callback would otherwise abort the process.
    NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
    # Electron and other embedders with a memory cage refuse external buffers.
    NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED)
  # The addon needs libc and libm alone: libstdc++ and libgcc are linked in and keep their symbols to themselves.
  target_link_options(${name} PRIVATE -Wl,--exclude-libs,ALL -Wl,--gc-sections)
  if(NOT BLOCK_ATTENTION_SANITIZE)
    target_link_options(${name} PRIVATE -static-libstdc++ -static-libgcc)
  endif()
  set_target_properties(${name} PROPERTIES
    PREFIX ""
    SUFFIX ".node"
    LINKER_LANGUAGE CXX
    LIBRARY_OUTPUT_DIRECTORY "${BLOCK_ATTENTION_ADDON_FOLDER}")
endfunction()

add_node_addon(block_attention block_attention_core)
if(BLOCK_ATTENTION_CUDA)
  target_link_libraries(block_attention PRIVATE block_attention_cuda)
  target_compile_definitions(block_attention PRIVATE BLOCK_ATTENTION_CUDA_BACKEND)
endif()
