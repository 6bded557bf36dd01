// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected: 0x82F63B78), as iSCSI (RFC 3720) and ext4 use it.
#pragma once

#include "core/types.h"

namespace peregrine {

// Continues `crc` (0 to begin) over `bytes` bytes; crc32c(crc32c(0, a), b) = crc32c(0, ab).
// Takes the CPU's instruction where there is one, else tables; the choice is made once.
u32 crc32c(u32 crc, const void* data, std::size_t bytes);

// The two ways, for tests and benches. crc32c_hardware falls back to the tables without SSE4.2.
u32 crc32c_table(u32 crc, const void* data, std::size_t bytes);
u32 crc32c_hardware(u32 crc, const void* data, std::size_t bytes);
bool crc32c_has_hardware();

}  // namespace peregrine
