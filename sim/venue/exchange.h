// The exchange: accounts, OUCH order entry, ITCH publication, snapshots, session states, fees and the record.
//
// Deterministic: no sockets, no clock, no threads. Bytes and times in, bytes out through the sink. The socket
// server and the virtual-time harness both drive this class.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/rng.h"
#include "core/types.h"
#include "execution/ouch.h"
#include "market/itch.h"
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
  std::string firm;  // 4 characters; self-trade prevention and mass cancel go by it
  bool cancel_on_disconnect = false;
  std::string drop_copy_of;  // not empty: read-only, receives what the ports of that firm do (drop_copy.h)
};

struct ExchangeConfig {
  std::vector<SymbolConfig> symbols = {SymbolConfig{}};
  std::vector<PortConfig> ports;
  std::string session = "PRG0000001";  // 10 characters: MoldUDP64, SoupBinTCP and GLIMPSE alike
  TimeNs midnight_ns = 0;              // protocol times are nanoseconds since this instant
  StpMode stp = StpMode::kCancelResting;
  u32 max_orders = 1u << 17;
  i64 taker_fee_ticks = 30;  // per share, in price ticks (1/10,000 dollars)
  i64 maker_fee_ticks = -20;
  bool open_cross = false;     // collect orders before the open and uncross them with a Q
  bool long_forms = false;     // append the appendage length where the 2024 text of OUCH does
  u32 reject_per_million = 0;  // fault: refuse this share of orders (seeded)
  u64 seed = 1;                // of the reject fault only
  // Firm, symbol, shares: what the firms hold when the session begins. A firm named here has it told on its drop copies.
  std::map<std::string, std::map<std::string, i64>> holdings;
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
  void start(TimeNs now_ns);  // start of messages, directory, states
  // Only forwards; a state not after the present one is ignored.
  void set_session_state(SessionState state, TimeNs now_ns);
  void halt(u32 symbol, u8 state, std::string_view reason, TimeNs now_ns);  // 'H', 'P', 'Q'; 'T' resumes
  bool bust(u64 match, u8 reason, TimeNs now_ns);  // breaks a trade; false = unknown or already broken
  void set_short_sale(u32 symbol, u8 action, TimeNs now_ns);

  // --- reading ---
  const ExchangeConfig& config() const { return config_; }
  SessionState session_state() const { return state_; }
  u8 trading_state(u32 symbol) const { return trading_[symbol]; }
  const Matching& matching() const { return matching_; }
  int port_of(std::string_view user) const;  // -1 unknown; case does not matter
  const MessageStore& port_store(PortIx port) const { return ports_[port].store; }
  const MessageStore& itch_store() const { return itch_store_; }
  // The snapshot messages of this instant, without the closing G.
  void snapshot(MessageStore& out, TimeNs now_ns) const;
  const std::vector<RecordEntry>& record() const { return record_; }
  PortSummary summary(PortIx port) const;
  // What the firms hold now: what they held at the start, and what they traded since.
  std::map<std::string, std::map<std::string, i64>> holdings() const;
  u32 next_user_ref_num(PortIx port) const { return ports_[port].last_urn + 1; }
  u64 state_hash() const;
  // Fills of background orders, for the flow: handles that are dead are recognised by Matching::live.
  u64 background_fills() const { return background_fills_; }

 private:
  struct Order {
    OrderHandle handle = kNoOrder;
    PortIx port = 0;
    u32 urn = 0;  // the newest of the chain
    u32 symbol = 0;
    u32 executed = 0;  // over the whole chain
    u32 open = 0;
    u64 ref = 0;
    PriceTicks price_ticks = 0;
    TimeNs expires_ns = 0;
    u8 side = 'B', tif = '0', display = 'Y', capacity = 'P', message = 'O';
    bool post_only = false;
    u32 min_qty = 0;
    ouch::ClOrdId cl_ord_id{};
  };
  struct Port {
    PortConfig config;
    MessageStore store;
    std::unordered_map<u32, u32> order_of_urn;  // only looked up, never walked
    std::map<u32, u32> open;                    // URN -> order, walked in order of URN
    u32 last_urn = 0;
    bool disabled = false;
    PortSummary summary;
  };
  struct Trade {
    u32 symbol;
    PriceTicks price_ticks;
    u32 qty;
    bool broken;
    u32 orders[2];  // index in orders_ + 1, 0 = background
    u32 urns[2];    // as told in the execution
    i64 fees_ticks[2];
    u8 sides[2];
  };
  struct MatchEvent {
    bool prevented;
    Fill fill;
    Prevented prevention;
  };

  void on_fill(const Fill& fill) override { events_.push_back({false, fill, {}}); }
  void on_prevented(const Prevented& p) override { events_.push_back({true, {}, p}); }

  // exchange_ouch.cpp: order entry
  void on_enter(PortIx port, Bytes m, TimeNs now_ns);
  void on_replace(PortIx port, Bytes m, TimeNs now_ns);
  void on_cancel(PortIx port, Bytes m, TimeNs now_ns);
  void on_modify(PortIx port, Bytes m, TimeNs now_ns);
  void on_mass_cancel(PortIx port, Bytes m, TimeNs now_ns);
  void on_disable(PortIx port, Bytes m, TimeNs now_ns);
  void on_enable(PortIx port, Bytes m, TimeNs now_ns);
  void on_query(PortIx port, Bytes m, TimeNs now_ns);
  // Reads the appendage and checks the values both Enter and Replace have; 0 = good, else the reject code.
  u16 check_terms(Order& o, u32 open_qty, Bytes appendage, u8 iso, TimeNs now_ns) const;
  u16 check_state(const Order& o) const;
  OrderSpec spec_of(const Order& o, u32 index) const;
  void settle(u32 index, const EnterResult& result, TimeNs now_ns);
  bool consume_urn(PortIx port, u32 urn);
  u32 find_live(PortIx port, u32 urn) const;  // kNone when not live under this URN
  bool own_firm(PortIx port, const ouch::Firm& firm) const;
  bool fault_rejects();
  void ignored(PortIx port, u8 message, u32 urn, TimeNs now_ns);
  void malformed(PortIx port, u8 message, TimeNs now_ns);

  // exchange_out.cpp: what goes out
  RecordEntry& note(RecordKind kind, const Order& o, TimeNs now_ns);
  void send_accepted(Order& o, bool dead, TimeNs now_ns);
  void send_replaced(Order& o, u32 orig_urn, bool dead, TimeNs now_ns);
  void send_canceled(Order& o, u32 qty, u8 reason, TimeNs now_ns);
  void send_rejected(PortIx port, u8 message, u32 urn, u16 reason, const ouch::ClOrdId& id, TimeNs now_ns);
  void send_modified(Order& o, TimeNs now_ns);
  void send_system(u8 code, TimeNs now_ns);
  // To every drop copy of the firm whose port this is.
  template <class T>
  void tell_drop_copies(PortIx of, const T& message, TimeNs now_ns);
  void state_positions(TimeNs now_ns);  // drop_copy.cpp
  template <class T>
  void respond(PortIx port, T message, TimeNs now_ns);
  template <class T>
  void publish(u32 symbol, T message, TimeNs now_ns);
  void publish_system(char code, TimeNs now_ns);
  void publish_add(const OrderView& o, TimeNs now_ns);
  template <class T>
  void append_to(MessageStore& out, u32 symbol, T message, TimeNs now_ns) const;
  template <class F>
  void each_directory_message(F&& f) const;
  // Tells everyone of the fills and preventions of the operation under way.
  void flush_events(TimeNs now_ns, u8 cross_liquidity = 0);
  void tell_side(const Fill& f, bool maker, u8 liquidity, i64 fee_ticks, Trade& trade, TimeNs now_ns);
  void tell_prevented(u64 tag, u32 owner, u32 decrement, bool resting, const Prevented& p, TimeNs now_ns);

  // exchange.cpp
  void cancel_order(u32 index, u8 reason, TimeNs now_ns);
  void close_if_done(u32 index);
  void apply_mode(u32 symbol, TimeNs now_ns);
  void cancel_all_at_close(TimeNs now_ns);
  bool attributed(const OrderView& o) const;
  u64 stamp(TimeNs now_ns) const;
  u32 symbol_of(const ouch::Symbol& symbol) const;
  const itch::Stock& stock(u32 symbol) const { return stocks_[symbol]; }

  static constexpr u32 kNone = 0xFFFFFFFFu;
  static constexpr u32 kBackground = 0x80000000u;  // owner bit: not a port

  ExchangeConfig config_;
  ExchangeSink* sink_;
  Matching matching_;
  SessionState state_ = SessionState::kStart;
  std::vector<itch::Stock> stocks_;
  std::vector<u8> trading_;
  std::vector<u8> short_sale_;
  std::vector<Port> ports_;
  std::vector<Order> orders_;
  std::vector<Trade> trades_;  // by match number - 1
  std::vector<RecordEntry> record_;
  std::multimap<TimeNs, u32> expiries_;
  MessageStore itch_store_;
  std::vector<MatchEvent> events_;  // of the operation under way
  std::string system_codes_;        // published so far
  Rng reject_rng_;
  u64 background_fills_ = 0;
  mutable i64 last_stamp_ns_ = 0;
};

}  // namespace peregrine::venue
