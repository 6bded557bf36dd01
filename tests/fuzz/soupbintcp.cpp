// SoupBinTCP in both directions: a byte stream cut anywhere gives the packets an obvious walk gives; logins decode and
// encode to the same meaning.
#include "execution/soup.h"
#include "fuzz.h"

using namespace peregrine;

namespace {

void login(Bytes payload) {
  soup::LoginRequest request, request2;
  if (soup::decode(payload, request)) {
    u8 again[soup::kLoginRequestBytes];
    FUZZ_CHECK(soup::encode(request, again) == payload.size());
    FUZZ_CHECK(std::memcmp(again, payload.data(), 26) == 0);  // the number may be padded otherwise
    FUZZ_CHECK(soup::decode(Bytes(again, sizeof again), request2) && request2.sequence == request.sequence);
  }
  soup::LoginAccepted accepted, accepted2;
  if (soup::decode(payload, accepted)) {
    u8 again[soup::kLoginAcceptedBytes];
    FUZZ_CHECK(soup::encode(accepted, again) == payload.size());
    FUZZ_CHECK(std::memcmp(again, payload.data(), 10) == 0);
    FUZZ_CHECK(soup::decode(Bytes(again, sizeof again), accepted2) && accepted2.sequence == accepted.sequence);
    FUZZ_CHECK(soup::same_session(accepted.session, accepted2.session));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  static soup::Framer framer;  // 64 KiB: made once, reset for each input
  framer.reset();
  const u64 malformed_before = framer.malformed();
  fuzz::Input in(data, size);
  u32 cuts = in.u16be() | 1u;
  const Bytes stream = in.rest();
  std::vector<Bytes> want;
  u64 want_malformed = 0;
  std::size_t at = 0;
  while (stream.size() - at >= 2) {
    const std::size_t n = load_be16(stream.data() + at);
    if (stream.size() - at - 2 < n) break;
    if (n == 0) ++want_malformed;
    if (n > 0) want.push_back(stream.subspan(at + 2, n));
    at += 2 + n;
  }
  std::size_t got = 0;
  for (std::size_t from = 0; from < stream.size();) {
    cuts = cuts * 1664525u + 1013904223u;
    std::size_t n = cuts >> 28 == 0 ? stream.size() : 1 + (cuts >> 20) % 40;
    if (n > stream.size() - from) n = stream.size() - from;
    framer.push(stream.subspan(from, n), [&](Bytes packet) {
      FUZZ_CHECK(got < want.size() && packet.size() == want[got].size());
      FUZZ_CHECK(std::memcmp(packet.data(), want[got].data(), packet.size()) == 0);
      ++got;
      login(packet.subspan(1));
    });
    from += n;
  }
  FUZZ_CHECK(got == want.size() && framer.held_bytes() == stream.size() - at);
  FUZZ_CHECK(framer.malformed() - malformed_before == want_malformed);
  login(stream);
  return 0;
}
