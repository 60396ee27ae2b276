# cmake -DFROM=<source> -DTO=<copy> -DNAMESPACE=<name> [-DFOLDER=<folder> -DCOPIED=<files>] [-DOLD=<file> -DNEW=<file>]
#   -P plant.cmake
# Copies a source of native/cuda into block_attention::cuda::<name>, so that it may stand beside the original, with the one
# occurrence of the text in file OLD replaced by that in file NEW. Fails if it does not occur exactly once. Of the files
# COPIED it includes the copies in FOLDER.
file(READ "${FROM}" text)
if(DEFINED OLD)
  file(READ "${OLD}" old)
  file(READ "${NEW}" new)
  string(FIND "${text}" "${old}" first)
  string(FIND "${text}" "${old}" last REVERSE)
  if(first EQUAL -1)
    message(FATAL_ERROR "${FROM} no longer holds what the planted bug ${NAMESPACE} replaces (cmake/planted.cmake):\n${old}")
  endif()
  if(NOT first EQUAL last)
    message(FATAL_ERROR "${FROM} holds what the planted bug ${NAMESPACE} replaces more than once (cmake/planted.cmake):\n${old}")
  endif()
  string(REPLACE "${old}" "${new}" text "${text}")
endif()
string(REPLACE "namespace block_attention::cuda {" "namespace block_attention::cuda::${NAMESPACE} {" text "${text}")
foreach(file ${COPIED})
  string(REPLACE "#include \"cuda/${file}\"" "#include \"${FOLDER}/${file}\"" text "${text}")
endforeach()
file(WRITE "${TO}" "${text}")
