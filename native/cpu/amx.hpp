// Whether Intel's AMX (tiles of 16 rows of 64 bytes, and products of them) can be used by this
// process: what the CPU has, what the system saves, and what it permits.
#pragma once

namespace block_attention {

// The first call asks the system for permission, for all threads of the process at once; a process
// that is refused it, or whose system knows nothing of tiles, gets false, and a tile instruction
// would end it.
bool can_use_amx_int8();
bool can_use_amx_bf16();

}  // namespace block_attention
