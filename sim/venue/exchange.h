// The exchange: accounts, OUCH order entry, ITCH publication, snapshots, session states, fees and the record.
//
// Deterministic: no sockets, no clock, no threads. Bytes and times in, bytes out through the sink. The socket
// server and the virtual-time harness both drive this class.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"
#include "venue/matching.h"
#include "venue/record.h"
#include "venue/store.h"

namespace peregrine::venue {

struct SymbolConfig {
  std::string symbol = "PRGN";
  u32 round_lot = 100;
  PriceTicks increment_ticks = 100;        // minimum price increment: one cent
  PriceTicks reference_ticks = 1'000'000;  // the flow's starting value; $100.00
};

// One OUCH port: a login, its firm, and its rules.
struct PortConfig {
  std::string user;
  std::string password;
  std::string firm;                   // 4 characters; self-trade prevention and mass cancel go by it
  bool cancel_on_disconnect = false;
  std::string drop_copy_of;           // not empty: read-only, receives the executions of that firm
};

struct ExchangeConfig {
  std::vector<SymbolConfig> symbols = {SymbolConfig{}};
  std::vector<PortConfig> ports;
  std::string session = "PRG0000001";  // 10 characters: MoldUDP64, SoupBinTCP and GLIMPSE alike
  TimeNs midnight_ns = 0;              // protocol times are nanoseconds since this instant
  StpMode stp = StpMode::kCancelResting;
  u32 max_orders = 1u << 17;
  i64 taker_fee_ticks = 30;            // per share, in price ticks (1/10,000 dollars)
  i64 maker_fee_ticks = -20;
  bool open_cross = false;             // collect orders before the open and uncross them with a Q
  bool ouch_newer_forms = false;       // append the appendage length where the 2024 text does
  u32 reject_per_million = 0;          // fault: refuse this share of orders (seeded)
  u64 seed = 1;                        // of the reject fault only
};

enum class SessionState : u8 { kStart = 0, kPreOpen = 1, kOpen = 2, kClosed = 3, kEnded = 4 };

class ExchangeSink {
 public:
  // One sequenced message of a port; seq counts from 1.
  virtual void ouch(PortIx port, u64 seq, Bytes message) = 0;
  // One message of the feed; seq counts from 1.
  virtual void itch(u64 seq, u16 locate, Bytes message) = 0;

 protected:
  ~ExchangeSink() = default;
};

struct PortSummary {
  u64 accepted = 0, replaced = 0, canceled = 0, rejected = 0, executed = 0, ignored = 0, prevented = 0;
  u64 bought = 0, sold = 0;  // shares
  i64 cash_ticks = 0;        // sells less buys, fees left out
  i64 fees_ticks = 0;        // paid (positive) less received
  u32 open_orders = 0;
};

class Exchange : private MatchSink {
 public:
  Exchange(const ExchangeConfig& config, ExchangeSink* sink);

  // --- order entry ---
  // One OUCH message of a port (the payload of a SoupBinTCP U packet).
  void on_ouch(PortIx port, Bytes message, TimeNs now_ns);
  // The port's TCP connection is gone: cancels its orders when the port asks for that.
  void on_disconnect(PortIx port, TimeNs now_ns);
  // Expires orders whose time to live is over; `next_timer` is when to call next (INT64_MAX: never).
  void on_timer(TimeNs now_ns);
  TimeNs next_timer() const;

  // --- the flow's door: no port, no OUCH, but the same matching ---
  EnterResult background_enter(const OrderSpec& spec, TimeNs now_ns);
  bool background_cancel(OrderHandle handle, TimeNs now_ns);
  u32 background_reduce(OrderHandle handle, u32 qty, TimeNs now_ns);
  // Cancel and new in one; published as a replace when nothing trades.
  EnterResult background_replace(OrderHandle handle, PriceTicks price_ticks, u32 qty, TimeNs now_ns);

  // --- administration ---
  void start(TimeNs now_ns);                              // start of messages, directory, states
  void set_session_state(SessionState state, TimeNs now_ns);
  void halt(u32 symbol, u8 state, std::string_view reason, TimeNs now_ns);  // 'H', 'P', 'Q'; 'T' resumes
  bool bust(u64 match, u8 reason, TimeNs now_ns);         // breaks a trade; false = unknown or already broken
  void set_short_sale(u32 symbol, u8 action, TimeNs now_ns);

  // --- reading ---
  const ExchangeConfig& config() const { return config_; }
  SessionState session_state() const { return state_; }
  u8 trading_state(u32 symbol) const { return trading_[symbol]; }
  const Matching& matching() const { return matching_; }
  int port_of(std::string_view user) const;               // -1 unknown; case does not matter
  const MessageStore& port_store(PortIx port) const { return ports_[port].store; }
  const MessageStore& itch_store() const { return itch_store_; }
  // The snapshot messages of this instant, without the closing G.
  void snapshot(MessageStore& out, TimeNs now_ns) const;
  const std::vector<RecordEntry>& record() const { return record_; }
  PortSummary summary(PortIx port) const;
  u32 next_user_ref_num(PortIx port) const { return ports_[port].last_urn + 1; }
  u64 state_hash() const;
  // Fills of background orders, for the flow: handles that are dead are recognised by Matching::live.
  u64 background_fills() const { return background_fills_; }

 private:
  struct Order {
    OrderHandle handle = kNoOrder;
    PortIx port = 0;
    u32 urn = 0;
    u32 symbol = 0;
    u32 total = 0;      // liable: executed over the whole chain and open
    u32 executed = 0;   // over the whole chain
    u32 open = 0;
    u64 ref = 0;
    PriceTicks price_ticks = 0;
    TimeNs expires_ns = 0;
    u8 side = 'B', tif = '0', display = 'Y', capacity = 'A', iso = 'N', cross = 'N';
    std::array<char, 14> cl_ord_id{};
  };
  struct Port {
    PortConfig config;
    MessageStore store;
    std::vector<u32> order_of_urn;  // URN - 1 -> index in orders_ + 1; grows with the URN, sparse URNs in `far`
    std::map<u32, u32> far;
    std::vector<u32> open;          // indices of open orders, in order of URN
    u32 last_urn = 0;
    bool disabled = false;
    PortSummary summary;
  };
  struct Trade {
    u64 match;
    u32 symbol;
    PriceTicks price_ticks;
    u32 qty;
    bool broken;
    u32 sides[2];  // order index + 1, 0 = background
  };
  struct Request;  // a decoded and checked Enter or Replace

  void on_fill(const Fill& fill) override;
  void on_prevented(const Prevented& prevented) override;

  // exchange_ouch.cpp
  void on_enter(PortIx port, Bytes m, TimeNs now_ns);
  void on_replace(PortIx port, Bytes m, TimeNs now_ns);
  void on_cancel(PortIx port, Bytes m, TimeNs now_ns);
  void on_modify(PortIx port, Bytes m, TimeNs now_ns);
  void on_mass_cancel(PortIx port, Bytes m, TimeNs now_ns);
  void on_enable(PortIx port, Bytes m, TimeNs now_ns, bool enable);
  void on_query(PortIx port, TimeNs now_ns);
  u16 check(PortIx port, const Request& r) const;
  void execute(u32 order, const Request& r, TimeNs now_ns, u32 replaces);
  void cancel_order(u32 order, u8 reason, TimeNs now_ns);
  bool consume_urn(PortIx port, u32 urn);
  u32 find(PortIx port, u32 urn) const;
  void index_order(PortIx port, u32 urn, u32 order);
  void close_order(u32 order);

  // exchange_out.cpp
  void send_accepted(const Order& o, bool dead, TimeNs now_ns);
  void send_replaced(const Order& o, u32 orig_urn, bool dead, TimeNs now_ns);
  void send_canceled(const Order& o, u32 qty, u8 reason, TimeNs now_ns);
  void send_rejected(PortIx port, u32 urn, u16 reason, const std::array<char, 14>& cl_ord_id, TimeNs now_ns);
  void send_executed(u32 order, u32 qty, PriceTicks price_ticks, u8 liquidity, u64 match, u32 contra, TimeNs now_ns);
  void send_prevented(u32 order, u32 decrement, u32 prevented, PriceTicks price_ticks, u8 liquidity, TimeNs now_ns);
  void send_system(u8 code, TimeNs now_ns);
  void publish(u32 symbol, Bytes message);
  void publish_add(const OrderView& o, TimeNs now_ns);
  void publish_fill(const Fill& f, TimeNs now_ns);
  void publish_system(u8 code, TimeNs now_ns);
  void flush_events(u32 taker_order, TimeNs now_ns);
  void ouch(PortIx port, Bytes message);
  u64 stamp(TimeNs now_ns) const;
  u16 locate(u32 symbol) const { return static_cast<u16>(symbol + 1); }

  ExchangeConfig config_;
  ExchangeSink* sink_;
  Matching matching_;
  SessionState state_ = SessionState::kStart;
  std::vector<u8> trading_;
  std::vector<u8> short_sale_;
  std::vector<Port> ports_;
  std::vector<Order> orders_;
  std::vector<Trade> trades_;
  std::vector<RecordEntry> record_;
  std::multimap<TimeNs, u32> expiries_;
  MessageStore itch_store_;
  std::vector<Fill> fills_;            // of the operation under way
  std::vector<Prevented> prevented_;
  u64 background_fills_ = 0;
};

}  // namespace peregrine::venue
