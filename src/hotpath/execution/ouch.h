// OUCH 5.0: every message in both directions. Big-endian, unsigned; a message's fields lie one after the other
// in the order of its `each` list, after the type byte (and, from the host, the timestamp):
//
//   request    | type(1) | fields …                | appendage length(2) | appendage |
//   response   | type(1) | timestamp_ns(8) | fields … | appendage length(2) | appendage |
//   appendage  | len(1) tag(1) value(len-1) | …        len counts tag and value, not itself
//
// Messages marked kRequired always carry the appendage length; kOptional ones exist in an older, shorter form
// without it: the decoder goes by the frame's length, the encoder by `long_form`.
#pragma once

#include <array>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "core/bytes.h"
#include "core/types.h"

namespace peregrine::ouch {

template <std::size_t N>
using Alpha = std::array<char, N>;

template <std::size_t N>
constexpr Alpha<N> alpha(std::string_view s) {
  Alpha<N> a{};
  for (std::size_t i = 0; i < N; ++i) a[i] = i < s.size() ? s[i] : ' ';
  return a;
}
// All spaces, made by the compiler: a default that costs two stores.
template <std::size_t N>
inline constexpr Alpha<N> kBlank = alpha<N>("");
template <std::size_t N>
constexpr std::string_view trimmed(const Alpha<N>& a) {
  std::size_t n = N;
  while (n > 0 && (a[n - 1] == ' ' || a[n - 1] == '\0')) --n;
  return std::string_view(a.data(), n);
}

using Symbol = Alpha<8>;
using Firm = Alpha<4>;
using ClOrdId = Alpha<14>;

enum class Appendix : u8 { kRequired, kOptional };

inline constexpr u32 kMaxQuantity = 999'999;
inline constexpr u64 kMaxPrice = 1'999'999'900;     // 199,999.9900
inline constexpr u64 kMarketPrice = 0x7FFF'FFFF;
inline constexpr std::size_t kMaxMessageBytes = 512;  // of messages this side makes; decode takes any size

inline constexpr u8 kTifDay = '0', kTifIoc = '3', kTifExtended = '5', kTifUntil = '6', kTifAfterHours = 'E';
inline constexpr u8 kStateLive = 'L', kStateDead = 'D';

// Tags of the appendage (value widths in the protocol notes).
enum Tag : u8 {
  kTagSecondaryOrderRef = 1, kTagFirm = 2, kTagMinQuantity = 3, kTagCustomerType = 4, kTagMaxFloor = 5,
  kTagPriceType = 6, kTagPegOffset = 7, kTagDiscretionPrice = 9, kTagDiscretionPegType = 10,
  kTagDiscretionOffset = 11, kTagPostOnly = 12, kTagRandomReserves = 13, kTagRoute = 14, kTagExpireTime = 15,
  kTagTradeNow = 16, kTagHandleInst = 17, kTagBboWeight = 18, kTagReferencePrice = 19,
  kTagReferencePriceType = 20, kTagDisplayQuantity = 22, kTagDisplayPrice = 23,
};

// Every element lies inside the appendage and has at least a tag.
bool well_formed(Bytes appendage);
// The value of the first element with this tag; empty (data() == nullptr) when there is none.
Bytes find_tag(Bytes appendage, u8 tag);

// Builds an appendage in a fixed buffer; add() says false when it does not fit.
class AppendageBuilder {
 public:
  bool add(u8 tag, const void* value, std::size_t n) {
    if (n > 254 || size_ + n + 2 > data_.size()) return false;
    data_[size_] = static_cast<u8>(n + 1);
    data_[size_ + 1] = tag;
    if (n > 0) std::memcpy(data_.data() + size_ + 2, value, n);
    size_ += n + 2;
    return true;
  }
  bool add_char(u8 tag, u8 value) { return add(tag, &value, 1); }
  bool add_u32(u8 tag, u32 value);
  bool add_u64(u8 tag, u64 value);
  Bytes bytes() const { return Bytes(data_.data(), size_); }
  void clear() { size_ = 0; }

 private:
  std::array<u8, 256> data_;
  std::size_t size_ = 0;
};

// Fields every message of a direction has. `appendage` is a view: into the decoded bytes, or the caller's.
struct Request {
  static constexpr bool kResponse = false;
  Bytes appendage{};
  bool long_form = false;  // optional-appendage messages only
};
struct Response {
  static constexpr bool kResponse = true;
  u64 timestamp_ns = 0;  // since midnight, venue's zone
  Bytes appendage{};
  bool long_form = false;
};

// clang-format off
#define PRG_OUCH(TYPE, BASE, APP) \
  static constexpr u8 kType = TYPE; static constexpr std::size_t kBaseBytes = BASE; \
  static constexpr Appendix kAppendix = Appendix::APP; \
  template <class M, class V> static constexpr void each([[maybe_unused]] M& m, [[maybe_unused]] V&& v)

// ---- client -> host. kBaseBytes counts type, fields and (required form) the two length bytes.
struct EnterOrder : Request {
  u32 user_ref_num = 0; u8 side = 'B'; u32 quantity = 0; Symbol symbol = kBlank<8>; u64 price = 0; u8 tif = kTifDay;
  u8 display = 'Y'; u8 capacity = 'P'; u8 iso = 'N'; u8 cross = 'N'; ClOrdId cl_ord_id = kBlank<14>;
  PRG_OUCH('O', 47, kRequired) {
    v("user_ref_num", m.user_ref_num); v("side", m.side); v("quantity", m.quantity); v("symbol", m.symbol);
    v("price", m.price); v("tif", m.tif); v("display", m.display); v("capacity", m.capacity); v("iso", m.iso);
    v("cross", m.cross); v("cl_ord_id", m.cl_ord_id);
  }
};
struct ReplaceOrder : Request {
  u32 orig_ref_num = 0; u32 user_ref_num = 0; u32 quantity = 0; u64 price = 0; u8 tif = kTifDay; u8 display = 'Y';
  u8 iso = 'N'; ClOrdId cl_ord_id = kBlank<14>;
  PRG_OUCH('U', 40, kRequired) {
    v("orig_ref_num", m.orig_ref_num); v("user_ref_num", m.user_ref_num); v("quantity", m.quantity);
    v("price", m.price); v("tif", m.tif); v("display", m.display); v("iso", m.iso); v("cl_ord_id", m.cl_ord_id);
  }
};
struct CancelOrder : Request {  // quantity = intended total including executions; 0 = cancel all that is left
  u32 user_ref_num = 0; u32 quantity = 0;
  PRG_OUCH('X', 9, kOptional) { v("user_ref_num", m.user_ref_num); v("quantity", m.quantity); }
};
struct ModifyOrder : Request {
  u32 user_ref_num = 0; u8 side = 'S'; u32 quantity = 0;
  PRG_OUCH('M', 10, kOptional) { v("user_ref_num", m.user_ref_num); v("side", m.side); v("quantity", m.quantity); }
};
struct AccountQuery : Request {
  PRG_OUCH('Q', 1, kOptional) {}
};
struct MassCancel : Request {
  u32 user_ref_num = 0; Firm firm = kBlank<4>; Symbol symbol = kBlank<8>;
  PRG_OUCH('C', 17, kOptional) { v("user_ref_num", m.user_ref_num); v("firm", m.firm); v("symbol", m.symbol); }
};
struct DisableEntry : Request {
  u32 user_ref_num = 0; Firm firm = kBlank<4>;
  PRG_OUCH('D', 9, kOptional) { v("user_ref_num", m.user_ref_num); v("firm", m.firm); }
};
struct EnableEntry : Request {
  u32 user_ref_num = 0; Firm firm = kBlank<4>;
  PRG_OUCH('E', 9, kOptional) { v("user_ref_num", m.user_ref_num); v("firm", m.firm); }
};

// ---- host -> client. kBaseBytes counts type, timestamp, fields and (required form) the two length bytes.
struct SystemEvent : Response {
  u8 code = 'S';
  PRG_OUCH('S', 10, kOptional) { v("code", m.code); }
};
struct Accepted : Response {
  u32 user_ref_num = 0; u8 side = 'B'; u32 quantity = 0; Symbol symbol = kBlank<8>; u64 price = 0; u8 tif = kTifDay;
  u8 display = 'Y'; u64 order_ref = 0; u8 capacity = 'P'; u8 iso = 'N'; u8 cross = 'N'; u8 state = kStateLive;
  ClOrdId cl_ord_id = kBlank<14>;
  PRG_OUCH('A', 64, kRequired) {
    v("user_ref_num", m.user_ref_num); v("side", m.side); v("quantity", m.quantity); v("symbol", m.symbol);
    v("price", m.price); v("tif", m.tif); v("display", m.display); v("order_ref", m.order_ref);
    v("capacity", m.capacity); v("iso", m.iso); v("cross", m.cross); v("state", m.state); v("cl_ord_id", m.cl_ord_id);
  }
};
struct Replaced : Response {
  u32 orig_ref_num = 0; u32 user_ref_num = 0; u8 side = 'B'; u32 quantity = 0; Symbol symbol = kBlank<8>;
  u64 price = 0; u8 tif = kTifDay; u8 display = 'Y'; u64 order_ref = 0; u8 capacity = 'P'; u8 iso = 'N'; u8 cross = 'N';
  u8 state = kStateLive; ClOrdId cl_ord_id = kBlank<14>;
  PRG_OUCH('U', 68, kRequired) {
    v("orig_ref_num", m.orig_ref_num); v("user_ref_num", m.user_ref_num); v("side", m.side);
    v("quantity", m.quantity); v("symbol", m.symbol); v("price", m.price); v("tif", m.tif); v("display", m.display);
    v("order_ref", m.order_ref); v("capacity", m.capacity); v("iso", m.iso); v("cross", m.cross);
    v("state", m.state); v("cl_ord_id", m.cl_ord_id);
  }
};
struct Canceled : Response {  // quantity = what this message removed
  u32 user_ref_num = 0; u32 quantity = 0; u8 reason = 'U';
  PRG_OUCH('C', 18, kOptional) { v("user_ref_num", m.user_ref_num); v("quantity", m.quantity); v("reason", m.reason); }
};
struct AiqCanceled : Response {
  u32 user_ref_num = 0; u32 quantity = 0; u8 reason = 'Q'; u32 quantity_prevented = 0; u64 price = 0;
  u8 liquidity = 'A';
  PRG_OUCH('D', 31, kOptional) {  // the long form has a strategy byte between the fields and the appendage length
    v("user_ref_num", m.user_ref_num); v("quantity", m.quantity); v("reason", m.reason);
    v("quantity_prevented", m.quantity_prevented); v("price", m.price); v("liquidity", m.liquidity);
  }
  u8 strategy = ' ';
};
struct Executed : Response {
  u32 user_ref_num = 0; u32 quantity = 0; u64 price = 0; u8 liquidity = 'A'; u64 match_number = 0;
  PRG_OUCH('E', 36, kRequired) {
    v("user_ref_num", m.user_ref_num); v("quantity", m.quantity); v("price", m.price); v("liquidity", m.liquidity);
    v("match_number", m.match_number);
  }
};
struct BrokenTrade : Response {
  u32 user_ref_num = 0; u64 match_number = 0; u8 reason = 'E'; ClOrdId cl_ord_id = kBlank<14>;
  PRG_OUCH('B', 36, kOptional) {
    v("user_ref_num", m.user_ref_num); v("match_number", m.match_number); v("reason", m.reason);
    v("cl_ord_id", m.cl_ord_id);
  }
};
struct TradeCorrection : Response {
  u32 user_ref_num = 0; u32 quantity = 0; u64 price = 0; u8 liquidity = 'A'; u64 match_number = 0; u8 reason = 'N';
  ClOrdId cl_ord_id = kBlank<14>;
  PRG_OUCH('F', 49, kOptional) {
    v("user_ref_num", m.user_ref_num); v("quantity", m.quantity); v("price", m.price); v("liquidity", m.liquidity);
    v("match_number", m.match_number); v("reason", m.reason); v("cl_ord_id", m.cl_ord_id);
  }
};
struct Rejected : Response {
  u32 user_ref_num = 0; u16 reason = 15; ClOrdId cl_ord_id = kBlank<14>;
  PRG_OUCH('J', 29, kOptional) {
    v("user_ref_num", m.user_ref_num); v("reason", m.reason); v("cl_ord_id", m.cl_ord_id);
  }
};
struct CancelPending : Response {
  u32 user_ref_num = 0;
  PRG_OUCH('P', 13, kOptional) { v("user_ref_num", m.user_ref_num); }
};
struct CancelReject : Response {
  u32 user_ref_num = 0;
  PRG_OUCH('I', 13, kOptional) { v("user_ref_num", m.user_ref_num); }
};
struct PriorityUpdate : Response {
  u32 user_ref_num = 0; u64 price = 0; u8 display = 'Y'; u64 order_ref = 0;
  PRG_OUCH('T', 30, kOptional) {
    v("user_ref_num", m.user_ref_num); v("price", m.price); v("display", m.display); v("order_ref", m.order_ref);
  }
};
struct Modified : Response {
  u32 user_ref_num = 0; u8 side = 'S'; u32 quantity = 0;
  PRG_OUCH('M', 18, kOptional) { v("user_ref_num", m.user_ref_num); v("side", m.side); v("quantity", m.quantity); }
};
struct Restated : Response {
  u32 user_ref_num = 0; u8 reason = 'R';
  PRG_OUCH('R', 16, kRequired) { v("user_ref_num", m.user_ref_num); v("reason", m.reason); }
};
struct AccountQueryResponse : Response {
  u32 next_ref_num = 1;
  PRG_OUCH('Q', 13, kOptional) { v("next_ref_num", m.next_ref_num); }
};
struct MassCancelResponse : Response {
  u32 user_ref_num = 0; Firm firm = kBlank<4>; Symbol symbol = kBlank<8>;
  PRG_OUCH('X', 25, kOptional) { v("user_ref_num", m.user_ref_num); v("firm", m.firm); v("symbol", m.symbol); }
};
struct DisableResponse : Response {
  u32 user_ref_num = 0; Firm firm = kBlank<4>;
  PRG_OUCH('G', 17, kOptional) { v("user_ref_num", m.user_ref_num); v("firm", m.firm); }
};
struct EnableResponse : Response {
  u32 user_ref_num = 0; Firm firm = kBlank<4>;
  PRG_OUCH('K', 17, kOptional) { v("user_ref_num", m.user_ref_num); v("firm", m.firm); }
};
#undef PRG_OUCH
// clang-format on

namespace detail {

inline void put(u8*& p, u8 v) { *p++ = v; }
inline void put(u8*& p, u16 v) { store_be16(p, v), p += 2; }
inline void put(u8*& p, u32 v) { store_be32(p, v), p += 4; }
inline void put(u8*& p, u64 v) { store_be64(p, v), p += 8; }
template <std::size_t N>
inline void put(u8*& p, const Alpha<N>& v) {
  std::memcpy(p, v.data(), N), p += N;
}
inline void get(const u8*& p, u8& v) { v = *p++; }
inline void get(const u8*& p, u16& v) { v = load_be16(p), p += 2; }
inline void get(const u8*& p, u32& v) { v = load_be32(p), p += 4; }
inline void get(const u8*& p, u64& v) { v = load_be64(p), p += 8; }
template <std::size_t N>
inline void get(const u8*& p, Alpha<N>& v) {
  std::memcpy(v.data(), p, N), p += N;
}

// Bytes of type, timestamp and fields, from the field list itself.
template <class T>
constexpr std::size_t fixed_bytes() {
  T m{};
  std::size_t n = 1 + (T::kResponse ? 8 : 0);
  T::each(m, [&n](const char*, auto& f) { n += sizeof(f); });
  return n;
}
template <class T>
inline constexpr bool kLayoutHolds = fixed_bytes<T>() + (T::kAppendix == Appendix::kRequired ? 2 : 0) == T::kBaseBytes;

template <class T>
inline constexpr bool kHasStrategy = std::is_same_v<T, AiqCanceled>;

}  // namespace detail

// Bytes encode() will write.
template <class T>
std::size_t encoded_bytes(const T& m) {
  const std::size_t fixed = detail::fixed_bytes<T>();
  if (T::kAppendix == Appendix::kRequired) return fixed + 2 + m.appendage.size();
  return m.long_form ? fixed + (detail::kHasStrategy<T> ? 1 : 0) + 2 + m.appendage.size() : fixed;
}

// Writes the message (type byte first, no SoupBinTCP header); returns its size. `out` holds encoded_bytes(m).
template <class T>
std::size_t encode(const T& m, u8* out) {
  static_assert(detail::kLayoutHolds<T>);
  u8* p = out;
  *p++ = T::kType;
  if constexpr (T::kResponse) detail::put(p, m.timestamp_ns);
  T::each(m, [&p](const char*, const auto& f) { detail::put(p, f); });
  if (T::kAppendix == Appendix::kRequired || m.long_form) {
    if constexpr (detail::kHasStrategy<T>) *p++ = m.strategy;
    detail::put(p, static_cast<u16>(m.appendage.size()));
    if (!m.appendage.empty()) std::memcpy(p, m.appendage.data(), m.appendage.size());
    p += m.appendage.size();
  }
  return static_cast<std::size_t>(p - out);
}

// Takes the short and the long form by the frame's length; false = another type, or malformed (m is then unspecified).
// m.appendage views `msg`.
template <class T>
bool decode(Bytes msg, T& m) {
  static_assert(detail::kLayoutHolds<T>);
  constexpr std::size_t fixed = detail::fixed_bytes<T>();
  if (msg.size() < fixed || msg[0] != T::kType) return false;
  const u8* p = msg.data() + 1;
  if constexpr (T::kResponse) detail::get(p, m.timestamp_ns);
  T::each(m, [&p](const char*, auto& f) { detail::get(p, f); });
  m.appendage = Bytes{};
  m.long_form = false;
  if (T::kAppendix == Appendix::kOptional && msg.size() == fixed) return true;
  m.long_form = T::kAppendix == Appendix::kOptional;
  std::size_t at = fixed;
  if constexpr (detail::kHasStrategy<T>) {
    if (msg.size() < at + 1) return false;
    m.strategy = msg[at++];
  }
  if (msg.size() < at + 2) return false;
  const std::size_t size = load_be16(msg.data() + at);
  if (msg.size() != at + 2 + size) return false;
  m.appendage = msg.subspan(at + 2, size);
  return well_formed(m.appendage);
}

constexpr bool is_added(u8 liquidity) {
  for (const char c : {'A', 'J', 'k', 'e', 'j', '7', '8'})
    if (liquidity == static_cast<u8>(c)) return true;
  return false;
}
constexpr bool is_removed(u8 liquidity) {
  for (const char c : {'R', 'm', 'p', 'q', 'r', 't'})
    if (liquidity == static_cast<u8>(c)) return true;
  return false;
}
constexpr Side side_of(u8 ouch_side) { return ouch_side == 'B' ? Side::kBuy : Side::kSell; }

}  // namespace peregrine::ouch
