// The engine's way from packet bytes to order bytes without sockets, and the script of a session for it.
//
// A script is made once, by trading against the exchange; as the engine is deterministic, playing its inputs to a
// fresh engine gives the same orders with nothing but the engine running. That the orders are the same is checked.
#pragma once

#include <vector>

#include "core/clock.h"
#include "engine/step_runner.h"
#include "market/feed_receiver.h"
#include "spec.h"
#include "venue/exchange.h"
#include "venue/flow.h"

namespace peregrine::bench {

inline venue::ExchangeConfig exchange_config_from(const Spec& s, TimeNs midnight_ns) {
  venue::ExchangeConfig c;
  venue::PortConfig port;
  port.user = "BENCH1";
  port.password = "bench";
  port.firm = "DEM1";
  c.ports = {port};
  c.midnight_ns = midnight_ns;
  c.symbols[0].symbol = s.text("instrument.symbol");
  c.max_orders = static_cast<u32>(s.number("max_book_orders"));
  return c;
}

inline venue::FlowParams flow_params_from(const Spec& s) {
  venue::FlowParams p;
  p.seed = static_cast<u64>(s.number("seed"));
  p.rate_per_s = static_cast<u32>(s.number("rate_per_s"));
  return p;
}

class Pipeline final : private FeedSink {
 public:
  Pipeline(const Spec& spec, const TscClock& clock, journal::Appender* appender)
      : clock_(clock), shard_(shard_config_from(spec)), runner_(shard_, appender), feed_(feed_config(), *this) {
    load_default_policy(shard_, spec);
  }

  // Packet bytes in. `ordered()` and `order_ticks()` tell whether and when order bytes came out.
  void packet(Bytes bytes, TimeNs now) {
    now_ = now;
    order_ticks_ = 0;
    feed_.on_packet(kLineA, bytes, now);
  }
  void start(TimeNs now) {
    now_ = now;
    feed_.start(now);
  }
  void input(journal::RecordType type, TimeNs now, Bytes head, Bytes body = {}) {
    now_ = now;
    consume(type, head, body);
  }
  u64 order_ticks() const { return order_ticks_; }
  u64 orders() const { return shard_.counters().orders + shard_.counters().replaces; }
  engine::Shard& shard() { return shard_; }
  // Every order byte so far, and room for the next ones.
  std::vector<u8>& out() { return out_; }

 private:
  static FeedReceiverConfig feed_config() {
    FeedReceiverConfig c;
    c.join = FeedReceiverConfig::Join::kFromFirst;
    c.lines = 1;
    c.snapshot_service = false;
    c.request_service = false;
    return c;
  }
  void consume(journal::RecordType type, Bytes head, Bytes body = {}) {
    if (!runner_.consume(type, now_, head, body)) fail("the journal refused a record");
    if (runner_.wire().empty()) return;
    if (order_ticks_ == 0) order_ticks_ = clock_.ticks();
    const Bytes wire = runner_.wire();
    out_.insert(out_.end(), wire.begin(), wire.end());
    const journal::SendResult sent{runner_.last_intent_seq(), static_cast<u32>(wire.size()), static_cast<i32>(wire.size())};
    runner_.clear_wire();
    consume(journal::RecordType::kSendResult, engine::bytes_of(sent));
  }
  void on_block(u64 seq, u8 line, Bytes msg) override {
    const journal::FeedHead head{seq, line, {}};
    consume(journal::RecordType::kFeed, engine::bytes_of(head), msg);
  }
  void on_snapshot_block(u64, Bytes) override {}
  void on_state(const journal::FeedStateChange& change) override {
    consume(journal::RecordType::kFeedState, engine::bytes_of(change));
  }
  void request(u64, u16) override {}
  void open_snapshot() override {}
  void close_snapshot() override {}

  TscClock clock_;
  engine::Shard shard_;
  engine::StepRunner runner_;
  FeedReceiver feed_;
  std::vector<u8> out_;
  TimeNs now_ = 0;
  u64 order_ticks_ = 0;
};

struct ScriptItem {
  enum class Kind : u8 { kPacket, kSession, kUp, kTimer };
  Kind kind;
  u32 offset;
  u32 size;
  TimeNs at;
};

struct Script {
  std::vector<u8> bytes;
  std::vector<ScriptItem> items;
  u64 packets = 0;
  u64 orders = 0;
  u64 order_hash = 0;
  Bytes at(const ScriptItem& i) const { return Bytes(bytes.data() + i.offset, i.size); }
};

inline void play(Pipeline& p, const Script& s, const ScriptItem& i) {
  switch (i.kind) {
    case ScriptItem::Kind::kPacket: p.packet(s.at(i), i.at); break;
    case ScriptItem::Kind::kSession: p.input(journal::RecordType::kSession, i.at, {}, s.at(i)); break;
    case ScriptItem::Kind::kUp: {
      const journal::SessionStateChange up{1, 0, {}, 1};
      p.input(journal::RecordType::kSessionState, i.at, engine::bytes_of(up));
      break;
    }
    case ScriptItem::Kind::kTimer: {
      const journal::TimerDue due{engine::kTimerHousekeeping, 0, i.at};
      p.input(journal::RecordType::kTimer, i.at, engine::bytes_of(due));
      break;
    }
  }
}

// Trades `packets` feed packets against the exchange; one packet an event, answers 20 us after the order.
class ScriptMaker final : private venue::ExchangeSink {
 public:
  ScriptMaker(const Spec& spec, const TscClock& clock)
      : now_(spec.number("start_ns")),
        exchange_(exchange_config_from(spec, spec.number("midnight_ns")), this),
        flow_(flow_params_from(spec), exchange_),
        pipeline_(spec, clock, nullptr) {}

  Script make(u64 packets) {
    pipeline_.start(now_);
    exchange_.start(now_);
    exchange_.set_session_state(venue::SessionState::kOpen, now_);
    flow_.begin(now_);
    flow_.seed_books(now_);
    flush();
    item(ScriptItem::Kind::kUp, {});
    soup::LoginAccepted accepted;
    const std::string& session = exchange_.config().session;
    accepted.session = soup::make_session(session.data(), session.size());
    accepted.sequence = pipeline_.shard().session().login_sequence();
    u8 login[1 + soup::kLoginAcceptedBytes];
    login[0] = soup::kLoginAccepted;
    soup::encode(accepted, login + 1);
    item(ScriptItem::Kind::kSession, Bytes(login, sizeof login));
    flush();
    TimeNs timer = now_ + engine::kHousekeepingIntervalNs;
    while (script_.packets < packets) {
      if (flow_.next_ns() > timer) {
        now_ = timer > now_ ? timer : now_;
        timer += engine::kHousekeepingIntervalNs;
        item(ScriptItem::Kind::kTimer, {});
      } else {
        now_ = flow_.next_ns() > now_ ? flow_.next_ns() : now_;
        flow_.step();
      }
      flush();
    }
    script_.orders = pipeline_.orders();
    script_.order_hash = pipeline_.shard().order_hash();
    return std::move(script_);
  }
  const engine::Shard& shard() { return pipeline_.shard(); }

 private:
  void itch(u64 seq, u16, Bytes m) override {
    if (feed_.empty()) first_seq_ = seq;
    feed_.emplace_back(m.begin(), m.end());
  }
  void ouch(venue::PortIx, u64, Bytes m) override {
    std::vector<u8> packet = {soup::kSequenced};
    packet.insert(packet.end(), m.begin(), m.end());
    answers_.push_back(std::move(packet));
  }
  void item(ScriptItem::Kind kind, Bytes bytes) {
    script_.items.push_back({kind, static_cast<u32>(script_.bytes.size()), static_cast<u32>(bytes.size()), now_});
    script_.bytes.insert(script_.bytes.end(), bytes.begin(), bytes.end());
    if (kind == ScriptItem::Kind::kPacket) ++script_.packets;
    play(pipeline_, script_, script_.items.back());
  }
  // Hands on what the exchange has said, orders back to it, until both are silent.
  void flush() {
    while (!feed_.empty() || !answers_.empty() || !pipeline_.out().empty()) {
      if (!pipeline_.out().empty()) {
        const std::vector<u8> wire = std::move(pipeline_.out());
        pipeline_.out().clear();
        now_ += 20'000;
        for (std::size_t i = 0; i < wire.size(); i += load_be16(wire.data() + i) + std::size_t{2}) {
          exchange_.on_ouch(0, Bytes(wire.data() + i + 3, load_be16(wire.data() + i) - std::size_t{1}), now_);
        }
      } else if (!feed_.empty()) {
        const std::vector<std::vector<u8>> messages = std::move(feed_);
        feed_.clear();
        u8 buffer[mold::kMaxPayloadBytes];
        mold::PacketBuilder packet(buffer, sizeof buffer);
        const mold::Session session = mold::make_session(exchange_.config().session);
        u64 seq = first_seq_;
        packet.start(session, seq);
        for (const std::vector<u8>& m : messages) {
          if (!packet.add(Bytes(m.data(), m.size()))) {
            item(ScriptItem::Kind::kPacket, packet.finish());
            packet.start(session, seq);
            packet.add(Bytes(m.data(), m.size()));
          }
          ++seq;
        }
        item(ScriptItem::Kind::kPacket, packet.finish());
      } else {
        const std::vector<std::vector<u8>> packets = std::move(answers_);
        answers_.clear();
        for (const std::vector<u8>& p : packets) item(ScriptItem::Kind::kSession, Bytes(p.data(), p.size()));
      }
    }
  }

  TimeNs now_;
  Script script_;
  venue::Exchange exchange_;
  venue::Flow flow_;
  Pipeline pipeline_;
  std::vector<std::vector<u8>> feed_;
  std::vector<std::vector<u8>> answers_;
  u64 first_seq_ = 0;
};

}  // namespace peregrine::bench
