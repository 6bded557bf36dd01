// MoldUDP64 packets: whether a packet is whole agrees with an obvious walk, the blocks lie in it end to end, and a
// whole packet built again from its blocks has the same bytes.
#include "fuzz.h"
#include "market/moldudp64.h"

using namespace peregrine;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  const Bytes packet(data, size);
  mold::Request request;
  if (mold::decode(packet, request)) {
    u8 again[mold::kRequestBytes];
    mold::encode(request, again);
    FUZZ_CHECK(size == sizeof again && std::memcmp(again, data, sizeof again) == 0);
  }
  mold::Header h;
  const bool good = mold::well_formed(packet, h);
  std::size_t at = mold::kHeaderBytes;
  bool whole = size >= at;
  if (whole) {
    const u32 count = load_be16(data + 18) == 0xFFFF ? 0 : load_be16(data + 18);
    for (u32 i = 0; whole && i < count; ++i) {
      whole = at + 2 <= size && at + 2 + load_be16(data + at) <= size;
      if (whole) at += 2 + static_cast<std::size_t>(load_be16(data + at));
    }
    whole = whole && at == size && load_be64(data + 10) <= UINT64_MAX - count;
  }
  FUZZ_CHECK(good == whole);
  if (size < mold::kHeaderBytes) return 0;
  // The iterator alone must hold on packets that are not whole, too.
  mold::BlockIterator it(packet, h);
  std::vector<u8> buffer(size + 32);
  mold::PacketBuilder builder(buffer.data(), buffer.size());
  builder.start(h.session, h.seq);
  u64 seq = h.seq;
  for (Bytes msg; it.next(msg);) {
    fuzz::touch(msg);
    FUZZ_CHECK(it.seq() == seq++);
    if (!builder.add(msg)) FUZZ_CHECK(!good);
  }
  if (good && !h.end_of_session()) {
    const Bytes again = builder.finish();
    FUZZ_CHECK(again.size() == size && std::memcmp(again.data(), data, size) == 0);
  }
  return 0;
}
