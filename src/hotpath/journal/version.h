// Versions of what is stored. Both stand in every segment header, snapshot and header record.
//
// kFormatVersion     rises when a layout changes or a record type is added. A reader reads its own
//                    version and every older one it names; a newer one is refused by number, never guessed at.
// kSemanticsVersion  rises when the same inputs would make the step decide, send or hash differently. A journal
//                    of another semantics version can be read and verified, but not replayed for identity.
//   2  a resting sell whose short mark is no longer true is cancelled when its replacement is refused; an answer of an
//      earlier run is not taken for the fence of this one
//   3  a venue that begins another session while orders are open kills: what became of them it does not tell; so does a
//      venue that goes on behind messages we never saw; a resume asks a venue again that gave no agreement
// Golden journals in tests hold both in place: a change of either is made on purpose or not at all.
#pragma once

#include "core/types.h"

namespace peregrine::journal {

inline constexpr u32 kFormatVersion = 1;
inline constexpr u32 kOldestReadableFormat = 1;
inline constexpr u32 kSemanticsVersion = 3;

}  // namespace peregrine::journal
