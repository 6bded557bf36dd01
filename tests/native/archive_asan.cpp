// Saving and loading state: what is loaded equals what was saved, and no bytes, however cut or flipped, make the check
// walk read or write outside. Returns nonzero with a message on the first difference.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/archive.h"
#include "core/rng.h"
#include "market/market.h"

using namespace peregrine;

namespace {

#define CHECK(x) \
  do { \
    if (!(x)) std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), std::exit(1); \
  } while (0)

struct Element {
  u32 a = 7;
  u32 next = 0;
};

struct Box {
  explicit Box(u32 n) : pool(n), plain(n) { blank(); }
  void blank() {
    for (u32 i = 0; i < pool.size(); ++i) pool[i] = {7, i + 1};
  }
  template <class A>
  void archive(A& a) {
    a(head, flags);
    a.pool(pool.data(), pool.size(), [](Element& e, std::size_t i) { e = {7, static_cast<u32>(i) + 1}; });
    a.pool(plain.data(), plain.size());
  }
  u64 head = 1;
  bool flags[3] = {true, false, true};
  std::vector<Element> pool;
  std::vector<u16> plain;
};

void touch(Box& b, Rng& rng) {
  const u32 n = static_cast<u32>(b.pool.size());
  for (u32 k = static_cast<u32>(rng.between(0, n)); n > 0 && k > 0; --k) {
    b.pool[rng.below(n)] = {static_cast<u32>(rng.below(9)), static_cast<u32>(rng.below(n + 1))};
    b.plain[rng.below(n)] = static_cast<u16>(rng.below(3));
  }
  b.head = rng.below(1u << 30);
}

bool same(const Box& a, const Box& b) {
  if (a.head != b.head || a.plain != b.plain) return false;
  for (u32 i = 0; i < a.pool.size(); ++i) {
    if (a.pool[i].a != b.pool[i].a || a.pool[i].next != b.pool[i].next) return false;
  }
  return true;
}

void boxes(Rng& rng) {
  for (int round = 0; round < 3000; ++round) {
    const u32 n = static_cast<u32>(rng.between(0, 40));
    Box from(n), to(n);
    touch(from, rng);
    touch(to, rng);  // loading must put the blanks back too
    std::vector<u8> bytes;
    SaveArchive save(bytes);
    from.archive(save);
    LoadArchive load(bytes, false);
    to.archive(load);
    CHECK(load.complete() && load.layout() == save.layout() && same(from, to));

    Box kept(n);
    const Box before = kept;
    std::vector<u8> spoilt = bytes;
    if (rng.below(2) == 0) spoilt.resize(rng.below(static_cast<u32>(spoilt.size())));
    for (u32 k = rng.below(4); k > 0 && !spoilt.empty(); --k) spoilt[rng.below(static_cast<u32>(spoilt.size()))] ^= static_cast<u8>(rng.between(1, 255));
    LoadArchive check(Bytes(spoilt.data(), spoilt.size()), true);
    kept.archive(check);
    CHECK(same(kept, before));
    if (!check.complete()) continue;
    LoadArchive again(Bytes(spoilt.data(), spoilt.size()), false);
    kept.archive(again);
    CHECK(again.complete());
  }
}

void another_size_is_another_layout() {
  Box small(4), large(5);
  std::vector<u8> bytes;
  SaveArchive save(bytes);
  small.archive(save);
  LoadArchive load(bytes, true);
  large.archive(load);
  CHECK(load.layout() != save.layout());
}

// An untouched market is small however big its pools: they are blank.
void an_empty_market_is_small() {
  MarketConfig config;
  Market market(config), twin(config);
  market.add_instrument("PRGN");
  std::vector<u8> bytes;
  SaveArchive save(bytes);
  market.archive(save);
  CHECK(bytes.size() < 16384);
  LoadArchive load(bytes, false);
  twin.archive(load);
  CHECK(load.complete() && twin.state_hash() == market.state_hash());
  twin.check();
}

}  // namespace

int main() {
  Rng rng(20261121);
  boxes(rng);
  another_size_is_another_layout();
  an_empty_market_is_small();
  std::puts("archive: ok");
  return 0;
}
