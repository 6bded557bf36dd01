// What does it cost to make the bytes of an order: OUCH message with appendage in its SoupBinTCP packet? Symbol and
// appendage are there beforehand, as in the order session; number, side, price and ClOrdId change.
// Twin: memcpy of the same bytes.
#include "execution/ouch.h"
#include "execution/soup.h"
#include "harness.h"

using namespace peregrine;
using namespace peregrine::bench;

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  constexpr u64 kBatch = 256;
  u8 message[ouch::kMaxMessageBytes], packet[ouch::kMaxMessageBytes + 3];
  std::size_t size = 0;
  u32 number = 0;
  const ouch::Symbol symbol = ouch::alpha<8>("PRGN");
  const ouch::ClOrdId ids[2] = {ouch::alpha<14>("P0001000000001"), ouch::alpha<14>("P0001000000002")};
  ouch::AppendageBuilder appendage;
  appendage.add_char(ouch::kTagPostOnly, 'P');
  keep(appendage);
  const auto order = [&] {
    ouch::EnterOrder m;
    m.user_ref_num = ++number;
    m.side = number % 2 == 0 ? 'B' : 'S';
    m.quantity = 100;
    m.symbol = symbol;
    m.price = 1'000'000 + number % 1000;
    m.cl_ord_id = ids[number % 2];
    m.appendage = appendage.bytes();
    const std::size_t n = ouch::encode(m, message);
    return soup::frame(soup::kUnsequenced, Bytes(message, n), packet);
  };
  size = order();
  std::vector<u8> source(packet, packet + size), copy(size);
  Figure figure, twin;
  b.in_turn(
      kBatch,
      [&] {
        for (u64 i = 0; i < kBatch; ++i) {
          size = order();
          keep(packet);
        }
      },
      [&] {
        for (u64 i = 0; i < kBatch; ++i) {
          keep(source[0]);
          std::memcpy(copy.data(), source.data(), source.size());
          keep(copy[0]);
        }
      },
      figure, twin);
  b.report("order_encode", figure, "memcpy of the same bytes", twin, "\"bytes\": " + std::to_string(size));
}
