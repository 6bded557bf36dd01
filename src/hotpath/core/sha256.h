// SHA-256 (FIPS 180-4): names of artifacts, schemas and closed journal segments. Not for the hot path.
// Takes the CPU's instructions where there are any: the journal's writer hashes every byte it moves to disk, and in
// virtual time it does so on the engine's own thread (a fifth of the whole with the plain loop).
#pragma once

#include <string_view>

#include "core/types.h"

namespace peregrine {

struct Sha256Digest {
  u8 bytes[32];
  friend bool operator==(const Sha256Digest&, const Sha256Digest&) = default;
};

// Incremental: update() any number of times, then finish() once.
class Sha256 {
 public:
  static constexpr std::size_t kDigestBytes = 32;

  Sha256() { reset(); }
  void reset();
  void update(const void* data, std::size_t n);
  void update(Bytes b) { update(b.data(), b.size()); }
  void finish(u8 out[kDigestBytes]);

  static Sha256Digest of(const void* data, std::size_t n);
  static Sha256Digest of(std::string_view s) { return of(s.data(), s.size()); }

 private:
  void blocks(const u8* p, std::size_t n);  // n times 64 bytes

  u32 h_[8];
  u64 total_bytes_;
  u8 buf_[64];
  std::size_t buffered_;
};

// 64 lower-case hex digits and a terminating zero.
void sha256_hex(const u8 digest[Sha256::kDigestBytes], char out[65]);

}  // namespace peregrine
