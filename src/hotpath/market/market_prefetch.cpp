// A datagram's cache misses, side by side. A message on a wide book waits up to three times in a row: for its order,
// its level and neighbours, and the entries when the level goes; or for a level, then the last of its queue or the
// entries. Link by link over all messages of the datagram the waits overlap.
#include "market/market.h"
#include "market/market_locate.h"

namespace peregrine {
namespace {

// From what length on a message of a type names a live order, or adds one: kNever for the other types.
constexpr u8 kNever = 0xFF;
struct Lengths {
  u8 names[256];
  u8 adds[256];
  u8 replaces[256];
};
constexpr Lengths make_lengths() {
  Lengths n{};
  for (int i = 0; i < 256; ++i) n.names[i] = n.adds[i] = n.replaces[i] = kNever;
  n.names[u8{'D'}] = itch::OrderDelete::kLength, n.names[u8{'E'}] = itch::OrderExecuted::kLength;
  n.names[u8{'X'}] = itch::OrderCancel::kLength, n.names[u8{'C'}] = itch::OrderExecutedPrice::kLength;
  n.names[u8{'U'}] = n.replaces[u8{'U'}] = itch::OrderReplace::kLength;
  n.adds[u8{'A'}] = itch::AddOrder::kLength, n.adds[u8{'F'}] = itch::AddOrderMpid::kLength;
  return n;
}
constexpr Lengths kLengths = make_lengths();
constexpr std::size_t kShortest = itch::OrderDelete::kLength;
constexpr std::size_t kAtOnce = 64;

// Those of one kind, gathered without a branch: the kinds alternate at random.
struct Kind {
  const u8* at[kAtOnce + 1];
  std::size_t n = 0;

  [[gnu::always_inline]] void add_if(bool is, const u8* p) {
    at[n] = p;
    n += is;
  }
  std::span<const u8* const> all() const { return {at, n}; }
};

// Where a message has no such field, it is read from here.
constexpr u8 kBlank[itch::kMaxLength] = {};

// The fields by their place on the wire, the same in every type of its kind.
u16 locate_of(const u8* p) { return load_be16(p + 1); }
u64 ref_of(const u8* p) { return load_be64(p + 11); }
Side added_side_of(const u8* p) { return static_cast<Side>(p[19] & 1); }  // 'B' is even, 'S' odd
u32 added_price_of(const u8* p) { return load_be32(p + 32); }
u64 new_ref_of(const u8* p) { return load_be64(p + 19); }
u32 new_price_of(const u8* p) { return load_be32(p + 31); }

}  // namespace

void Market::prefetch(std::span<const Bytes> messages, u32 from_orders) const {
  if (books_.live_orders() < from_orders) return;
  for (; messages.size() > kAtOnce; messages = messages.subspan(kAtOnce)) prefetch_some(messages.first(kAtOnce));
  prefetch_some(messages);
}

void Market::prefetch_some(std::span<const Bytes> messages) const {
  asm volatile("");  // an effect: a function that only prefetches has none in gcc's eyes, and its calls are dropped
  Kind named, added, replaced;
  for (const Bytes m : messages) {
    if (m.size() < kShortest) continue;
    const u8* p = m.data();
    books_.prefetch_order(ref_of(p));
    const InstrumentIx ix = by_locate(locate_of(p));
    if (ix == kNoInstrument) continue;
    books_.prefetch_side(ix);
    named.add_if(m.size() >= kLengths.names[p[0]], p);
    added.add_if(m.size() >= kLengths.adds[p[0]], p);
    replaced.add_if(m.size() >= kLengths.replaces[p[0]], p);
  }
  for (const u8* p : added.all()) {
    books_.prefetch_level_at(by_locate(locate_of(p)), added_side_of(p), added_price_of(p));
  }
  for (const u8* p : replaced.all()) books_.prefetch_order(new_ref_of(p));
  u32 levels[kAtOnce];
  for (std::size_t i = 0; i < named.n; ++i) levels[i] = books_.prefetch_around(ref_of(named.at[i]));
  for (const u8* p : added.all()) {
    books_.prefetch_append(by_locate(locate_of(p)), added_side_of(p), added_price_of(p));
  }
  for (std::size_t i = 0; i < named.n; ++i) {
    if (levels[i] == BookStore::kNil) [[unlikely]] continue;
    const u8* p = named.at[i];
    const bool replaces = p[0] == 'U';
    books_.prefetch_drop(levels[i], replaces, new_price_of(choose(replaces, p, kBlank)));
  }
}

}  // namespace peregrine
