// NASDAQ TotalView-ITCH 5.0: a struct a message, and one description of each layout from which decoding,
// encoding, the wire length and the Python view all come.
//
//   0      1        3          5               11
//   +------+--------+----------+---------------+------------------
//   | type | locate | tracking | timestamp (6) | body (per message)
//   +------+--------+----------+---------------+------------------
//
// Integers are big-endian and unsigned; text is ASCII, left-justified, padded with spaces; the timestamp counts
// nanoseconds since midnight US/Eastern. A message longer than its type's length is accepted (its known prefix is
// read); a shorter one, or an order whose side is neither 'B' nor 'S', is malformed.
#pragma once

#include <array>
#include <string_view>
#include <tuple>

#include "core/bytes.h"
#include "core/types.h"

namespace peregrine::itch {

inline constexpr std::size_t kHeaderBytes = 11;
inline constexpr std::size_t kMaxLength = 50;
inline constexpr u64 kDayNs = 86'400'000'000'000ull;

// Text of N bytes as on the wire, padding included.
template <std::size_t N>
struct Alpha {
  char c[N];

  constexpr Alpha() {
    for (char& x : c) x = ' ';
  }
  static constexpr Alpha from(std::string_view s) {
    Alpha a;
    for (std::size_t i = 0; i < N; ++i) a.c[i] = i < s.size() ? s[i] : ' ';
    return a;
  }
  constexpr std::string_view raw() const { return {c, N}; }
  // Without the padding on the right.
  constexpr std::string_view text() const {
    std::size_t n = N;
    while (n > 0 && (c[n - 1] == ' ' || c[n - 1] == '\0')) --n;
    return {c, n};
  }
  friend constexpr bool operator==(const Alpha&, const Alpha&) = default;
};

using Stock = Alpha<8>;
using Mpid = Alpha<4>;

// Every struct carries the common header; `fields` visits the body in wire order.
#define PRG_ITCH_HEAD(type_, length_, name_)               \
  static constexpr u8 kType = type_;                       \
  static constexpr std::size_t kLength = length_;          \
  static constexpr const char* kName = name_;              \
  u16 locate = 0;                                          \
  u16 tracking = 0;                                        \
  u64 ts_ns = 0; /* since midnight, 48 bits on the wire */ \
  template <class S, class V>                              \
  static constexpr void fields(S& s, V&& v)

struct SystemEvent {
  PRG_ITCH_HEAD('S', 12, "system_event") { v("code", s.code); }
  char code = ' ';  // O S Q M E C
};

struct StockDirectory {
  PRG_ITCH_HEAD('R', 39, "stock_directory") {
    v("stock", s.stock);
    v("market_category", s.market_category);
    v("financial_status", s.financial_status);
    v("round_lot_size", s.round_lot_size);
    v("round_lots_only", s.round_lots_only);
    v("issue_classification", s.issue_classification);
    v("issue_sub_type", s.issue_sub_type);
    v("authenticity", s.authenticity);
    v("short_sale_threshold", s.short_sale_threshold);
    v("ipo_flag", s.ipo_flag);
    v("luld_tier", s.luld_tier);
    v("etp_flag", s.etp_flag);
    v("etp_leverage", s.etp_leverage);
    v("inverse", s.inverse);
  }
  Stock stock;
  char market_category = 'Q';
  char financial_status = 'N';
  u32 round_lot_size = 100;
  char round_lots_only = 'N';
  char issue_classification = 'C';
  Alpha<2> issue_sub_type = Alpha<2>::from("Z");
  char authenticity = 'P';
  char short_sale_threshold = 'N';
  char ipo_flag = 'N';
  char luld_tier = '1';
  char etp_flag = 'N';
  u32 etp_leverage = 0;
  char inverse = 'N';
};

struct TradingAction {
  PRG_ITCH_HEAD('H', 25, "trading_action") {
    v("stock", s.stock);
    v("state", s.state);
    v("reserved", s.reserved);
    v("reason", s.reason);
  }
  Stock stock;
  char state = 'T';  // H halted, P paused, Q quotation only, T trading
  char reserved = ' ';
  Alpha<4> reason;
};

struct RegSho {
  PRG_ITCH_HEAD('Y', 20, "reg_sho") {
    v("stock", s.stock);
    v("action", s.action);
  }
  Stock stock;
  char action = '0';  // 0 none, 1 in effect since an intraday drop, 2 remains in effect
};

struct ParticipantPosition {
  PRG_ITCH_HEAD('L', 26, "participant_position") {
    v("mpid", s.mpid);
    v("stock", s.stock);
    v("primary", s.primary);
    v("mode", s.mode);
    v("state", s.state);
  }
  Mpid mpid;
  Stock stock;
  char primary = 'N';
  char mode = 'N';
  char state = 'A';
};

struct MwcbLevels {
  PRG_ITCH_HEAD('V', 35, "mwcb_levels") {
    v("level1", s.level1);
    v("level2", s.level2);
    v("level3", s.level3);
  }
  u64 level1 = 0;  // 1/10^8
  u64 level2 = 0;
  u64 level3 = 0;
};

struct MwcbStatus {
  PRG_ITCH_HEAD('W', 12, "mwcb_status") { v("breached_level", s.breached_level); }
  char breached_level = '1';
};

struct IpoQuoting {
  PRG_ITCH_HEAD('K', 28, "ipo_quoting") {
    v("stock", s.stock);
    v("release_time_s", s.release_time_s);
    v("qualifier", s.qualifier);
    v("price_ticks", s.price_ticks);
  }
  Stock stock;
  u32 release_time_s = 0;
  char qualifier = 'A';
  u32 price_ticks = 0;
};

struct LuldCollar {
  PRG_ITCH_HEAD('J', 35, "luld_collar") {
    v("stock", s.stock);
    v("reference_ticks", s.reference_ticks);
    v("upper_ticks", s.upper_ticks);
    v("lower_ticks", s.lower_ticks);
    v("extension", s.extension);
  }
  Stock stock;
  u32 reference_ticks = 0;
  u32 upper_ticks = 0;
  u32 lower_ticks = 0;
  u32 extension = 0;
};

struct OperationalHalt {
  PRG_ITCH_HEAD('h', 21, "operational_halt") {
    v("stock", s.stock);
    v("market", s.market);
    v("action", s.action);
  }
  Stock stock;
  char market = 'Q';
  char action = 'H';
};

struct AddOrder {
  PRG_ITCH_HEAD('A', 36, "add_order") {
    v("ref", s.ref);
    v("side", s.side);
    v("shares", s.shares);
    v("stock", s.stock);
    v("price_ticks", s.price_ticks);
  }
  u64 ref = 0;
  Side side = Side::kBuy;
  u32 shares = 0;
  Stock stock;
  u32 price_ticks = 0;
};

struct AddOrderMpid {
  PRG_ITCH_HEAD('F', 40, "add_order_mpid") {
    v("ref", s.ref);
    v("side", s.side);
    v("shares", s.shares);
    v("stock", s.stock);
    v("price_ticks", s.price_ticks);
    v("mpid", s.mpid);
  }
  u64 ref = 0;
  Side side = Side::kBuy;
  u32 shares = 0;
  Stock stock;
  u32 price_ticks = 0;
  Mpid mpid;
};

struct OrderExecuted {
  PRG_ITCH_HEAD('E', 31, "order_executed") {
    v("ref", s.ref);
    v("shares", s.shares);
    v("match", s.match);
  }
  u64 ref = 0;
  u32 shares = 0;
  u64 match = 0;
};

struct OrderExecutedPrice {
  PRG_ITCH_HEAD('C', 36, "order_executed_price") {
    v("ref", s.ref);
    v("shares", s.shares);
    v("match", s.match);
    v("printable", s.printable);
    v("price_ticks", s.price_ticks);
  }
  u64 ref = 0;
  u32 shares = 0;
  u64 match = 0;
  char printable = 'Y';
  u32 price_ticks = 0;
};

struct OrderCancel {
  PRG_ITCH_HEAD('X', 23, "order_cancel") {
    v("ref", s.ref);
    v("shares", s.shares);
  }
  u64 ref = 0;
  u32 shares = 0;  // amount removed
};

struct OrderDelete {
  PRG_ITCH_HEAD('D', 19, "order_delete") { v("ref", s.ref); }
  u64 ref = 0;
};

struct OrderReplace {
  PRG_ITCH_HEAD('U', 35, "order_replace") {
    v("ref", s.ref);
    v("new_ref", s.new_ref);
    v("shares", s.shares);
    v("price_ticks", s.price_ticks);
  }
  u64 ref = 0;  // the order that goes
  u64 new_ref = 0;
  u32 shares = 0;  // the new order's total
  u32 price_ticks = 0;
};

struct Trade {
  PRG_ITCH_HEAD('P', 44, "trade") {
    v("ref", s.ref);
    v("side", s.side);
    v("shares", s.shares);
    v("stock", s.stock);
    v("price_ticks", s.price_ticks);
    v("match", s.match);
  }
  u64 ref = 0;
  Side side = Side::kBuy;
  u32 shares = 0;
  Stock stock;
  u32 price_ticks = 0;
  u64 match = 0;
};

struct CrossTrade {
  PRG_ITCH_HEAD('Q', 40, "cross_trade") {
    v("shares", s.shares);
    v("stock", s.stock);
    v("price_ticks", s.price_ticks);
    v("match", s.match);
    v("cross_type", s.cross_type);
  }
  u64 shares = 0;
  Stock stock;
  u32 price_ticks = 0;
  u64 match = 0;
  char cross_type = 'O';
};

struct BrokenTrade {
  PRG_ITCH_HEAD('B', 19, "broken_trade") { v("match", s.match); }
  u64 match = 0;
};

struct Noii {
  PRG_ITCH_HEAD('I', 50, "noii") {
    v("paired_shares", s.paired_shares);
    v("imbalance_shares", s.imbalance_shares);
    v("direction", s.direction);
    v("stock", s.stock);
    v("far_ticks", s.far_ticks);
    v("near_ticks", s.near_ticks);
    v("reference_ticks", s.reference_ticks);
    v("cross_type", s.cross_type);
    v("variation", s.variation);
  }
  u64 paired_shares = 0;
  u64 imbalance_shares = 0;
  char direction = 'N';
  Stock stock;
  u32 far_ticks = 0;
  u32 near_ticks = 0;
  u32 reference_ticks = 0;
  char cross_type = 'O';
  char variation = ' ';
};

struct RetailInterest {
  PRG_ITCH_HEAD('N', 20, "retail_interest") {
    v("stock", s.stock);
    v("flag", s.flag);
  }
  Stock stock;
  char flag = 'N';
};

struct DirectListing {
  PRG_ITCH_HEAD('O', 48, "direct_listing") {
    v("stock", s.stock);
    v("eligible", s.eligible);
    v("min_ticks", s.min_ticks);
    v("max_ticks", s.max_ticks);
    v("near_execution_ticks", s.near_execution_ticks);
    v("near_execution_time_ns", s.near_execution_time_ns);
    v("lower_collar_ticks", s.lower_collar_ticks);
    v("upper_collar_ticks", s.upper_collar_ticks);
  }
  Stock stock;
  char eligible = 'N';
  u32 min_ticks = 0;
  u32 max_ticks = 0;
  u32 near_execution_ticks = 0;
  u64 near_execution_time_ns = 0;
  u32 lower_collar_ticks = 0;
  u32 upper_collar_ticks = 0;
};

#undef PRG_ITCH_HEAD

using AllMessages = std::tuple<SystemEvent, StockDirectory, TradingAction, RegSho, ParticipantPosition, MwcbLevels,
                               MwcbStatus, IpoQuoting, LuldCollar, OperationalHalt, AddOrder, AddOrderMpid,
                               OrderExecuted, OrderExecutedPrice, OrderCancel, OrderDelete, OrderReplace, Trade,
                               CrossTrade, BrokenTrade, Noii, RetailInterest, DirectListing>;
inline constexpr std::size_t kMessageTypes = std::tuple_size_v<AllMessages>;
static_assert(kMessageTypes == 23);

namespace detail {

struct LengthCounter {
  std::size_t n = kHeaderBytes;
  template <class T>
  constexpr void operator()(const char*, const T&) {
    n += sizeof(T);
  }
};

struct Reader {
  const u8* p;
  bool good = true;
  [[gnu::always_inline]] void operator()(const char*, char& v) { v = static_cast<char>(*p++); }
  [[gnu::always_inline]] void operator()(const char*, Side& v) {
    // One comparison for both: that it is one of the two can be foretold, which of them cannot.
    static_assert('B' % 2 == 0 && 'S' % 2 == 1);
    const u8 c = *p++;
    const u8 sell = c & 1;
    good &= c == 'B' + sell * ('S' - 'B');
    v = static_cast<Side>(sell);
  }
  [[gnu::always_inline]] void operator()(const char*, u32& v) { v = load_be32(p), p += 4; }
  [[gnu::always_inline]] void operator()(const char*, u64& v) { v = load_be64(p), p += 8; }
  template <std::size_t N>
  [[gnu::always_inline]] void operator()(const char*, Alpha<N>& v) {
    std::memcpy(v.c, p, N), p += N;
  }
};

struct Writer {
  u8* p;
  void operator()(const char*, const char& v) { *p++ = static_cast<u8>(v); }
  void operator()(const char*, const Side& v) { *p++ = v == Side::kBuy ? 'B' : 'S'; }
  void operator()(const char*, const u32& v) { store_be32(p, v), p += 4; }
  void operator()(const char*, const u64& v) { store_be64(p, v), p += 8; }
  template <std::size_t N>
  void operator()(const char*, const Alpha<N>& v) {
    std::memcpy(p, v.c, N), p += N;
  }
};

template <class T>
constexpr std::size_t wire_length() {
  LengthCounter c;
  T t{};
  T::fields(t, c);
  return c.n;
}

template <std::size_t... I>
constexpr std::array<u8, 256> make_lengths(std::index_sequence<I...>) {
  std::array<u8, 256> a{};
  ((a[std::tuple_element_t<I, AllMessages>::kType] = std::tuple_element_t<I, AllMessages>::kLength), ...);
  return a;
}

template <std::size_t... I>
constexpr bool lengths_agree(std::index_sequence<I...>) {
  return ((wire_length<std::tuple_element_t<I, AllMessages>>() == std::tuple_element_t<I, AllMessages>::kLength) && ...);
}
static_assert(lengths_agree(std::make_index_sequence<kMessageTypes>{}), "a field list disagrees with the wire length");

inline constexpr std::array<u8, 256> kLengths = make_lengths(std::make_index_sequence<kMessageTypes>{});

}  // namespace detail

// Length of a message of this type, 0 for a type ITCH 5.0 does not have.
constexpr std::size_t message_length(u8 type) { return detail::kLengths[type]; }

// Reads `msg` into `out`; false = malformed (other type, too short, bad side): `out` is then unspecified.
template <class T>
[[gnu::always_inline]] inline bool decode(Bytes msg, T& out) {
  if (msg.size() < T::kLength || msg[0] != T::kType) return false;
  const u8* p = msg.data();
  out.locate = load_be16(p + 1);
  out.tracking = load_be16(p + 3);
  out.ts_ns = load_be48(p + 5);
  detail::Reader r{p + kHeaderBytes};
  T::fields(out, r);
  return r.good;
}

// Writes T::kLength bytes at `out` and returns that length. ts_ns is cut to 48 bits.
template <class T>
inline std::size_t encode(const T& m, u8* out) {
  out[0] = T::kType;
  store_be16(out + 1, m.locate);
  store_be16(out + 3, m.tracking);
  store_be48(out + 5, m.ts_ns);
  detail::Writer w{out + kHeaderBytes};
  T::fields(m, w);
  return T::kLength;
}

// Calls f.template operator()<T>() with the struct of this type; false when there is none.
template <class F>
inline bool with_type(u8 type, F&& f) {
  bool found = false;
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (void)((std::tuple_element_t<I, AllMessages>::kType == type
                ? (f.template operator()<std::tuple_element_t<I, AllMessages>>(), found = true)
                : false) ||
           ...);
  }(std::make_index_sequence<kMessageTypes>{});
  return found;
}

}  // namespace peregrine::itch
