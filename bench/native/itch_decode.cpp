// How fast are ITCH messages read into structs? Twin: memcpy of the same bytes.
#include "harness.h"
#include "itch_stream.h"

using namespace peregrine;
using namespace peregrine::bench;

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  const ItchStream s = ItchStreamMaker(64, 4096, 1).make(20'000);
  constexpr u64 kBatch = 256;
  std::size_t at = 0, twin_at = 0;
  std::vector<u8> copy(64 * kBatch);
  u64 good = 0;
  Figure figure, twin;
  b.in_turn(
      kBatch,
      [&] {
        if (at + kBatch > s.steady.size()) at = 0;
        for (u64 i = 0; i < kBatch; ++i) {
          const Bytes m = s.at(s.steady[at + i]);
          const auto read = [&]<class T>() {
            T out;
            good += itch::decode(m, out);
            keep(out);  // every field, wanted or not
          };
          // The order messages by their frequency, as the market's own dispatch does.
          switch (m[0]) {
            case 'A': read.operator()<itch::AddOrder>(); break;
            case 'D': read.operator()<itch::OrderDelete>(); break;
            case 'U': read.operator()<itch::OrderReplace>(); break;
            case 'E': read.operator()<itch::OrderExecuted>(); break;
            default: read.operator()<itch::OrderCancel>(); break;
          }
        }
        at += kBatch;
      },
      [&] {
        if (twin_at + kBatch > s.steady.size()) twin_at = 0;
        u8* p = copy.data();
        for (u64 i = 0; i < kBatch; ++i) {
          const Bytes m = s.at(s.steady[twin_at + i]);
          std::memcpy(p, m.data(), m.size());
          p += m.size();
        }
        keep(copy[0]);
        twin_at += kBatch;
      },
      figure, twin);
  if (good < figure.items) fail("a message could not be decoded");
  b.report("itch_decode", figure, "memcpy of the same bytes", twin,
           "\"messages\": 20000, \"bytes\": " + std::to_string(s.bytes.size()));
}
