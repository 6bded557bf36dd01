#include "venue/day.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <type_traits>

#include "core/bytes.h"
#include "core/hash.h"

namespace peregrine::venue {
namespace {

constexpr char kMagic[8] = {'P', 'R', 'G', 'D', 'A', 'Y', '0', '1'};
constexpr u64 kSemantics = 1;  // raised when the same inputs come to mean something else

std::vector<u8> read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat st{};
  if (fd < 0 || ::fstat(fd, &st) != 0) throw std::system_error(errno, std::generic_category(), "opening " + path);
  std::vector<u8> data(static_cast<std::size_t>(st.st_size));
  std::size_t at = 0;
  while (at < data.size()) {
    const ssize_t n = ::read(fd, data.data() + at, data.size() - at);
    if (n <= 0) break;
    at += static_cast<std::size_t>(n);
  }
  ::close(fd);
  data.resize(at);
  return data;
}

u64 fold_text(u64 h, const std::string& s) { return hash_bytes(h, s.data(), s.size()); }

// Session and midnight are left out: they are the file's own.
u64 fingerprint_of(const DayConfig& c, Bytes recording) {
  u64 h = kSemantics;
  const ExchangeConfig& x = c.exchange;
  for (const SymbolConfig& s : x.symbols) {
    h = fold_text(h, s.symbol);
    for (const u64 v : {u64{s.round_lot}, static_cast<u64>(s.increment_ticks), static_cast<u64>(s.reference_ticks)}) h = hash_fold(h, v);
  }
  for (const PortConfig& p : x.ports) {
    for (const std::string* s : {&p.user, &p.firm, &p.drop_copy_of}) h = fold_text(h, *s);
    h = hash_fold(h, p.cancel_on_disconnect);
  }
  for (const u64 v : {static_cast<u64>(x.stp), u64{x.max_orders}, static_cast<u64>(x.taker_fee_ticks),
                      static_cast<u64>(x.maker_fee_ticks), u64{x.open_cross}, u64{x.long_forms},
                      u64{x.reject_per_million}, x.seed, u64{c.recording_speed_percent}}) {
    h = hash_fold(h, v);
  }
  static_assert(std::has_unique_object_representations_v<FlowParams>);
  h = hash_bytes(h, &c.flow, sizeof c.flow);
  for (const auto& [firm, lots] : x.holdings) {
    for (const auto& [symbol, shares] : lots) h = hash_fold(fold_text(fold_text(h, firm), symbol), static_cast<u64>(shares));
  }
  return hash_bytes(h, recording.data(), recording.size());
}

}  // namespace

Day::Day(const DayConfig& config, ExchangeSink* sink)
    : config_(config), exchange_(config.exchange, sink), flow_(config.flow, exchange_) {
  if (!config.recording.empty()) {
    recording_ = read_file(config.recording);
    recorded_ = std::make_unique<RecordedFlow>(Bytes(recording_), 0, 0, config.recording_speed_percent, exchange_);
  }
  fingerprint_ = fingerprint_of(config_, recording_);
}

u64 Day::apply(DayInput kind, u16 port, TimeNs now_ns, Bytes payload) {
  last_ns_ = now_ns;
  const auto need = [&](std::size_t bytes) {
    if (payload.size() < bytes) throw std::runtime_error("an input of the venue's day is too short");
  };
  if (port >= config_.exchange.ports.size() && (kind == DayInput::kOuch || kind == DayInput::kDisconnect)) {
    throw std::runtime_error("an input of the venue's day names a port there is not");
  }
  switch (kind) {
    case DayInput::kStart:
      started_ns_ = now_ns;
      exchange_.start(now_ns);
      return 1;
    case DayInput::kSession:
      need(1);
      if (payload[0] > static_cast<u8>(SessionState::kEnded)) throw std::runtime_error("the venue's day has an unknown state");
      set_session_state(static_cast<SessionState>(payload[0]), now_ns);
      return 1;
    case DayInput::kFlow:
      return run_flow(now_ns);
    case DayInput::kTimer:
      exchange_.on_timer(now_ns);
      return 1;
    case DayInput::kOuch:
      exchange_.on_ouch(port, payload, now_ns);
      return 1;
    case DayInput::kDisconnect:
      exchange_.on_disconnect(port, now_ns);
      return 1;
    case DayInput::kHalt: {
      need(6);
      const u32 symbol = load_le<u32>(payload.data());
      if (symbol >= config_.exchange.symbols.size()) return 0;
      const Bytes reason = payload.subspan(6);
      exchange_.halt(symbol, payload[4], {reinterpret_cast<const char*>(reason.data()), reason.size()}, now_ns);
      planned_halts_ += payload[5];
      return 1;
    }
    case DayInput::kBust:
      need(9);
      return exchange_.bust(load_le<u64>(payload.data()), payload[8], now_ns) ? 1 : 0;
    case DayInput::kFlowFromNow:
      if (generated() && exchange_.session_state() == SessionState::kOpen) flow_.begin(now_ns);
      return 1;
    case DayInput::kSnapshot: {
      MessageStore unused;
      exchange_.snapshot(unused, now_ns);
      return 1;
    }
    case DayInput::kFlowRate:
      need(4);
      if (const u32 rate = load_le<u32>(payload.data()); rate > 0) flow_.set_rate(rate);
      return 1;
    case DayInput::kHeader:
      break;
  }
  throw std::runtime_error("an input of the venue's day is of an unknown kind");
}

// The flow begins with the open market.
void Day::set_session_state(SessionState state, TimeNs now_ns) {
  const bool was_open = exchange_.session_state() >= SessionState::kOpen;
  exchange_.set_session_state(state, now_ns);
  if (was_open || exchange_.session_state() != SessionState::kOpen) return;
  if (recorded_ != nullptr) {
    recorded_->begin(now_ns);
  } else if (config_.flow.rate_per_s > 0) {
    flow_.seed_books(now_ns);
    flow_.begin(now_ns);
  }
}

u64 Day::run_flow(TimeNs now_ns) {
  u64 n = 0;
  if (recorded_ != nullptr) {
    for (; recorded_->next_ns() <= now_ns && n < kFlowBatch; ++n) recorded_->step();
  } else {
    for (; flow_.next_ns() <= now_ns && n < kFlowBatch; ++n) flow_.step();
  }
  return n;
}

// ---- payloads

std::vector<u8> halt_payload(u32 symbol, u8 state, bool planned, const std::string& reason) {
  std::vector<u8> p(6 + std::min<std::size_t>(reason.size(), 64));
  store_le(p.data(), symbol);
  p[4] = state;
  p[5] = planned;
  std::memcpy(p.data() + 6, reason.data(), p.size() - 6);
  return p;
}

std::vector<u8> bust_payload(u64 match, u8 reason) {
  std::vector<u8> p(9);
  store_le(p.data(), match);
  p[8] = reason;
  return p;
}

std::vector<u8> encode_opening(const DayOpening& o) {
  DayHeader h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.fingerprint = o.fingerprint;
  h.midnight_ns = o.midnight_ns;
  std::memcpy(h.session, o.session.data(), std::min(o.session.size(), sizeof h.session));
  std::vector<u8> p(sizeof h);
  std::memcpy(p.data(), &h, sizeof h);
  for (const std::string& a : o.addresses) p.insert(p.end(), a.c_str(), a.c_str() + a.size() + 1);
  return p;
}

DayOpening decode_opening(const DayRecord& r) {
  DayHeader h{};
  if (r.kind != DayInput::kHeader || r.payload.size() < sizeof h || std::memcmp(r.payload.data(), kMagic, sizeof kMagic) != 0) {
    throw std::runtime_error("this is not the file of a venue's day");
  }
  std::memcpy(&h, r.payload.data(), sizeof h);
  DayOpening o{h.fingerprint, h.midnight_ns, std::string(h.session, ::strnlen(h.session, sizeof h.session)), {}};
  std::size_t at = sizeof h;
  for (std::string& a : o.addresses) {
    for (; at < r.payload.size() && r.payload[at] != 0; ++at) a.push_back(static_cast<char>(r.payload[at]));
    if (at++ >= r.payload.size()) throw std::runtime_error("the venue's day has no addresses");
  }
  return o;
}

// ---- following

DayFollower::DayFollower(DayConfig config, const std::string& path) : reader_(path) {
  DayRecord r;
  if (!reader_.next(r)) throw std::runtime_error(path + " holds no venue's day yet");
  opening_ = decode_opening(r);
  config.exchange.session = opening_.session;
  config.exchange.midnight_ns = opening_.midnight_ns;
  ExchangeSink* const nobody = this;
  day_ = std::make_unique<Day>(config, nobody);
  if (day_->fingerprint() != opening_.fingerprint) {
    throw std::runtime_error(path + " is the day of a venue configured otherwise (symbols, accounts, flow, rejects or fees)");
  }
}

u64 DayFollower::catch_up(u64 limit) {
  u64 n = 0;
  for (DayRecord r; n < limit && reader_.next(r); ++n) day_->apply(r.kind, r.port, r.now_ns, r.payload);
  return n;
}

}  // namespace peregrine::venue
