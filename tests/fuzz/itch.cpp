// ITCH messages: any bytes decode or are refused, and what decodes encodes to the bytes it came from. Then the same
// bytes as a file of length-prefixed messages: the cursor ends where an obvious walk ends.
#include "fuzz.h"
#include "market/itch.h"
#include "market/itch_file.h"

using namespace peregrine;

namespace {

void one_message(Bytes msg) {
  if (msg.empty()) return;
  itch::with_type(msg[0], [&]<class T>() {
    T t;
    const bool good = itch::decode(msg, t);
    // Malformed is: too short, or a side that is none. Nothing else may be refused, nothing else taken.
    const bool long_enough = msg.size() >= itch::message_length(msg[0]);
    const bool has_side = msg[0] == 'A' || msg[0] == 'F' || msg[0] == 'P';
    FUZZ_CHECK(good == (long_enough && (!has_side || msg[19] == 'B' || msg[19] == 'S')));
    if (!good) return;
    u8 again[itch::kMaxLength];
    const std::size_t n = itch::encode(t, again);
    FUZZ_CHECK(n == itch::message_length(msg[0]) && std::memcmp(again, msg.data(), n) == 0);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  const Bytes all(data, size);
  one_message(all);
  BlockCursor cursor(all);
  std::size_t at = 0;
  for (Bytes msg; cursor.next(msg);) {
    FUZZ_CHECK(at + 2 <= size && static_cast<std::size_t>(data[at] << 8 | data[at + 1]) == msg.size());
    FUZZ_CHECK(msg.data() == data + at + 2 && cursor.at() == at + 2 + msg.size());
    at = cursor.at();
    one_message(msg);
  }
  FUZZ_CHECK(cursor.at() == at);
  const bool whole = at == size || (size - at >= 2 && data[at] == 0 && data[at + 1] == 0);
  FUZZ_CHECK(cursor.end() == (whole ? StreamEnd::kEnd : StreamEnd::kTruncated));
  return 0;
}
