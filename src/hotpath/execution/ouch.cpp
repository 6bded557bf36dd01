#include "execution/ouch.h"

namespace peregrine::ouch {

bool well_formed(Bytes appendage) {
  std::size_t at = 0;
  while (at < appendage.size()) {
    const std::size_t len = appendage[at];
    if (len == 0 || len > appendage.size() - at - 1) return false;
    at += 1 + len;
  }
  return true;
}

Bytes find_tag(Bytes appendage, u8 tag) {
  std::size_t at = 0;
  while (at < appendage.size()) {
    const std::size_t len = appendage[at];
    if (len == 0 || len > appendage.size() - at - 1) return {};
    if (appendage[at + 1] == tag) return appendage.subspan(at + 2, len - 1);
    at += 1 + len;
  }
  return {};
}

bool AppendageBuilder::add_u32(u8 tag, u32 value) {
  u8 b[4];
  store_be32(b, value);
  return add(tag, b, 4);
}

bool AppendageBuilder::add_u64(u8 tag, u64 value) {
  u8 b[8];
  store_be64(b, value);
  return add(tag, b, 8);
}

}  // namespace peregrine::ouch
