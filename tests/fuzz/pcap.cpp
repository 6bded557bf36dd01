// Captures: any file. Packets lie in the file in order, counts add up, and the MoldUDP64 blocks in the payloads are
// walked on. With its first byte odd the input is given a good file header, so that the records are reached.
#include "fuzz.h"
#include "market/moldudp64.h"
#include "market/pcap.h"

using namespace peregrine;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<u8> file(data + 1, data + size);
  if (data[0] & 1) {
    file.insert(file.begin(), 24, 0);
    const u32 magic = data[0] & 2 ? 0xA1B2C3D4u : 0xA1B23C4Du;
    if (data[0] & 4) {
      store_be32(file.data(), magic), file[23] = 1;
    } else {
      store_le<u32>(file.data(), magic), file[20] = 1;
    }
  }
  const fuzz::Exact exact{Bytes(file)};
  pcap::Reader reader(exact.view());
  pcap::Packet p;
  std::size_t at = 24;
  u64 packets = 0;
  while (reader.next(p)) {
    ++packets;
    FUZZ_CHECK(p.offset >= at && reader.at() > p.offset && reader.at() <= file.size());
    at = reader.at();
    FUZZ_CHECK(p.payload_offset > p.offset + 16 && p.payload_offset + p.payload.size() <= at);
    FUZZ_CHECK(p.payload.data() == exact.view().data() + p.payload_offset);
    FUZZ_CHECK(p.protocol == 17 || p.protocol == 6);
    fuzz::touch(p.payload);
    mold::Header h;
    if (!mold::well_formed(p.payload, h)) continue;
    mold::BlockIterator it(p.payload, h);
    for (Bytes msg; it.next(msg);) fuzz::touch(msg);
  }
  FUZZ_CHECK(reader.records() == packets + reader.skipped());
  if (reader.error() == pcap::Reader::Error::kNone) FUZZ_CHECK(reader.at() == file.size());
  return 0;
}
