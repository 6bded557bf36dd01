// Connection, replay, fence, rounds. Requests are in order_requests.cpp.
#include "execution/order_session.h"

#include "core/hash.h"

namespace peregrine {

const char* session_phase_name(SessionPhase p) {
  constexpr const char* names[] = {"down",     "logging_in", "querying", "mass_canceling", "canceling",
                                   "settling", "ready",      "halted",   "ended"};
  const auto i = static_cast<u8>(p);
  return i < sizeof(names) / sizeof(names[0]) ? names[i] : "?";
}

OrderSession::OrderSession(const SessionConfig& config, const SymbolTable& symbols, OrderManager& orders)
    : config_(config), symbols_(symbols), orders_(orders), messages_(config.max_messages + 1) {}

void OrderSession::set_phase(SessionPhase p, SessionOut& out) {
  if (p == phase_) return;
  phase_ = p;
  out.on_phase(p);
}

TimeNs OrderSession::deadline_ns() const {
  TimeNs t = deadline_ns_ < cancel_check_ns_ ? deadline_ns_ : cancel_check_ns_;
  const bool can_cancel = phase_ == SessionPhase::kReady || phase_ == SessionPhase::kCanceling ||
                          phase_ == SessionPhase::kSettling || phase_ == SessionPhase::kHalted;
  return can_cancel && held_until_ns_ < t ? held_until_ns_ : t;
}

void OrderSession::on_state(const journal::SessionStateChange& s, TimeNs now, SessionOut& out) {
  mass_cancel_number_ = fence_number_ = 0;
  blocked_ = false;
  deadline_ns_ = held_until_ns_ = cancel_check_ns_ = kNever;
  round_ = 0;
  if (s.up) {
    if (lost_at_ns_ == kNever) lost_at_ns_ = now;  // an earlier run may have died just now
    if (phase_ != SessionPhase::kDown && phase_ != SessionPhase::kEnded) orders_.on_connection_lost();
    set_phase(SessionPhase::kLoggingIn, out);
    return;
  }
  lost_at_ns_ = now;
  orders_.on_connection_lost();
  if (phase_ != SessionPhase::kEnded) set_phase(SessionPhase::kDown, out);
}

void OrderSession::on_packet(Bytes packet, TimeNs now, SessionOut& out) {
  const auto malformed = [&](u8 type) {
    ++malformed_;
    out.alarm(SessionAlarm::kMalformed, type, packet.size());
  };
  if (packet.empty()) return malformed(0);
  const u8 type = packet[0];
  const Bytes payload = packet.subspan(1);
  switch (type) {
    case soup::kServerHeartbeat:
    case soup::kDebug: return;
    case soup::kLoginAccepted:
      if (phase_ != SessionPhase::kLoggingIn) return malformed(type);
      return on_login(payload, now, out);
    case soup::kLoginRejected: {
      const u8 reason = payload.empty() ? 0 : payload[0];
      // The venue no longer has our session: the next login asks for the current one, from its first message.
      if (reason == 'S' && phase_ == SessionPhase::kLoggingIn) login_blank_ = true;
      out.alarm(SessionAlarm::kLoginRejected, reason, 0);
      return;
    }
    case soup::kSequenced:
      if (!logged_in()) return malformed(type);
      return on_sequenced(payload, now, out);
    case soup::kEndOfSession:
      if (!logged_in()) return malformed(type);
      close_session(out);
      deadline_ns_ = held_until_ns_ = cancel_check_ns_ = kNever;
      set_phase(SessionPhase::kEnded, out);
      return;
    default: return malformed(type);
  }
}

void OrderSession::close_session(SessionOut& out) {
  orders_.end_session([&](const OrderEvent& e) { out.on_order(e); });
}

void OrderSession::on_login(Bytes payload, TimeNs now, SessionOut& out) {
  soup::LoginAccepted m;
  if (!soup::decode(payload, m) || m.sequence == 0) {
    ++malformed_;
    out.alarm(SessionAlarm::kMalformed, soup::kLoginAccepted, payload.size());
    return;
  }
  const bool first = soup::same_session(session_, soup::blank_session());
  if (!first && !soup::same_session(session_, m.session)) {
    if (orders_.open_orders() > 0) out.alarm(SessionAlarm::kSessionChanged, orders_.open_orders(), next_sequence_);
    close_session(out);
    next_sequence_ = 1;
    day_ended_ = entry_disabled_ = false;
  }
  session_ = m.session;
  login_blank_ = false;
  stream_sequence_ = m.sequence;
  if (m.sequence > next_sequence_) {  // messages we never saw and never will: a person has to look at positions
    out.alarm(SessionAlarm::kSequenceGap, next_sequence_, m.sequence);
    next_sequence_ = m.sequence;
    return halt(out);
  }
  round_ = 1;
  query(now, out);
}

void OrderSession::on_sequenced(Bytes msg, TimeNs now, SessionOut& out) {
  const u64 sequence = stream_sequence_++;
  if (sequence < next_sequence_) {
    ++duplicates_;
    return;
  }
  next_sequence_ = sequence + 1;
  if (msg.empty()) return;  // advances the count, says nothing
  const u32 known = orders_.last_user_ref_num();
  const OrderEvent e = orders_.on_message(msg, now);
  // An order above every number we knew of, past the query: what answered the query, and perhaps the fence, was a
  // replayed answer to an earlier run whose journal is gone. We are still in its day: ask again.
  if (orders_.last_user_ref_num() > known && phase_ > SessionPhase::kQuerying && logged_in()) {
    round_ = 1;
    mass_cancel_number_ = 0;
    query(now, out);
  }
  switch (e.kind) {
    case OrderEventKind::kNotOrder: return on_host_message(msg, now, out);
    case OrderEventKind::kMalformed:
    case OrderEventKind::kUnknownType:
      ++malformed_;
      out.alarm(SessionAlarm::kMalformed, soup::kSequenced, msg[0]);
      return;
    case OrderEventKind::kUnknownNumber: out.alarm(SessionAlarm::kUnknownNumber, e.user_ref_num, msg[0]); break;
    default:
      if (e.anomaly)
        out.alarm(SessionAlarm::kAnomaly, e.user_ref_num, (static_cast<u64>(e.before) << 8) | static_cast<u64>(e.kind));
  }
  out.on_order(e);
  const Order* o = orders_.find(e.user_ref_num);
  const Order* other = orders_.find(e.other_ref_num);
  const bool wanted =
      (o && o->cancel_wanted && is_open(o->state)) || (other && other->cancel_wanted && is_open(other->state));
  if (phase_ == SessionPhase::kReady && wanted && mass_cancel_number_ == 0) pump_cancels(now, out);
  if (phase_ == SessionPhase::kSettling && orders_.open_orders() == 0) settle(now, out);
}

void OrderSession::on_host_message(Bytes msg, TimeNs now, SessionOut& out) {
  bool good = true;
  if (ouch::SystemEvent s; msg[0] == 'S' && (good = ouch::decode(msg, s))) {
    if (s.code == 'E') day_ended_ = true;
    if (s.code == 'S') day_ended_ = false;
  } else if (ouch::AccountQueryResponse q; msg[0] == 'Q' && (good = ouch::decode(msg, q))) {
    if (q.next_ref_num > 0) orders_.use_up_to(q.next_ref_num - 1);
    // An answer past the query that names a number above the fence: the one taken for ours was an earlier query's, and
    // the venue ignored the fence, with whatever went after it. So again.
    const bool fence_was_none = fence_number_ != 0 && q.next_ref_num > fence_number_ && logged_in();
    if (phase_ == SessionPhase::kQuerying || fence_was_none) {
      mass_cancel_number_ = 0;
      fence(now, out);
    }
  } else if (ouch::MassCancelResponse x; msg[0] == 'X' && (good = ouch::decode(msg, x))) {
    if (mass_cancel_number_ == 0 || x.user_ref_num != mass_cancel_number_) return;  // of an older connection
    mass_cancel_number_ = 0;
    if (phase_ == SessionPhase::kMassCanceling) return fence_passed(now, out);
    pump_cancels(now, out);  // what it did not take is cancelled singly
  } else if (ouch::DisableResponse g; msg[0] == 'G' && (good = ouch::decode(msg, g))) {
    entry_disabled_ = true;
    out.alarm(SessionAlarm::kEntryDisabled, g.user_ref_num, 0);
  } else if (ouch::EnableResponse k; msg[0] == 'K' && (good = ouch::decode(msg, k))) {
    entry_disabled_ = false;
  }
  if (!good) {
    ++malformed_;
    out.alarm(SessionAlarm::kMalformed, soup::kSequenced, msg[0]);
  }
}

// ---- agreement with the venue, in bounded rounds

void OrderSession::fence(TimeNs now, SessionOut& out) {
  if (config_.venue_mass_cancel) {
    if (!send_mass_cancel(Cause{}, now, out)) return halt(out);
    fence_number_ = mass_cancel_number_;
    set_phase(SessionPhase::kMassCanceling, out);
    deadline_ns_ = now + config_.answer_timeout_ns;
    return;
  }
  // Without a mass cancel: each order singly, and the venue's own silence limit for what may still be on the way
  // from the dead connection.
  want_all_cancelled();
  set_phase(SessionPhase::kCanceling, out);
  pump_cancels(now, out);
  const TimeNs quiet = lost_at_ns_ + config_.silence_ns;
  deadline_ns_ = quiet > now ? quiet : now + config_.answer_timeout_ns;
}

void OrderSession::fence_passed(TimeNs now, SessionOut& out) {
  orders_.reconcile([&](const OrderEvent& e) { out.on_order(e); });
  settle(now, out);
}

void OrderSession::settle(TimeNs now, SessionOut& out) {
  if (orders_.open_orders() == 0) {
    deadline_ns_ = held_until_ns_ = cancel_check_ns_ = kNever;
    round_ = 0;
    return set_phase(SessionPhase::kReady, out);
  }
  set_phase(SessionPhase::kSettling, out);
  deadline_ns_ = now + config_.answer_timeout_ns;
}

void OrderSession::next_round(TimeNs now, SessionOut& out) {
  mass_cancel_number_ = 0;
  if (round_ >= config_.max_rounds) {
    out.alarm(SessionAlarm::kNoAgreement, round_, orders_.open_orders());
    return halt(out);
  }
  ++round_;
  query(now, out);
}

void OrderSession::halt(SessionOut& out) {
  deadline_ns_ = kNever;
  set_phase(SessionPhase::kHalted, out);
}

void OrderSession::retry(TimeNs now, SessionOut& out) {
  if (phase_ != SessionPhase::kHalted) return;
  round_ = 1;
  query(now, out);
}

void OrderSession::on_timer(TimeNs now, SessionOut& out) {
  if (deadline_ns_ <= now) {
    switch (phase_) {
      case SessionPhase::kQuerying:
      case SessionPhase::kMassCanceling:
      case SessionPhase::kSettling: next_round(now, out); break;
      case SessionPhase::kCanceling: fence_passed(now, out); break;
      default: deadline_ns_ = kNever;
    }
  }
  if (cancel_check_ns_ <= now) check_cancel_answers(now, out);
  const bool can_cancel = phase_ == SessionPhase::kReady || phase_ == SessionPhase::kCanceling ||
                          phase_ == SessionPhase::kSettling || phase_ == SessionPhase::kHalted;
  if (can_cancel && held_until_ns_ <= now) pump_cancels(now, out);
}

void OrderSession::on_send_result(const journal::SendResult& r, TimeNs now, SessionOut& out) {
  (void)now;
  constexpr i32 kWouldBlock = -11;
  if (r.result < 0) {
    blocked_ = true;  // until the rest has gone, or a new connection
    if (r.result != kWouldBlock) out.alarm(SessionAlarm::kSendFailed, static_cast<u64>(-static_cast<i64>(r.result)), 0);
    return;
  }
  blocked_ = static_cast<u32>(r.result) < r.bytes_asked;
}

void OrderSession::on_recovered(const journal::Recovered& r, TimeNs now, SessionOut& out) {
  config_.epoch = r.epoch;
  orders_.forget_above(r.last_user_ref_num);
  if (orders_.last_user_ref_num() < r.last_user_ref_num) orders_.take_number(r.last_user_ref_num);
  orders_.on_connection_lost();
  if (next_sequence_ < r.venue_seq + 1) next_sequence_ = r.venue_seq + 1;
  lost_at_ns_ = now;
  mass_cancel_number_ = 0;
  round_ = 0;
  blocked_ = false;
  deadline_ns_ = held_until_ns_ = cancel_check_ns_ = kNever;
  messages_.clear();
  set_phase(SessionPhase::kDown, out);
}

u64 OrderSession::state_hash(u64 h) const {
  const auto fold = [&h](u64 v) { h = hash_fold(h, v); };
  fold(static_cast<u64>(phase_) | (blocked_ ? 256u : 0u) | (day_ended_ ? 512u : 0u) | (entry_disabled_ ? 1024u : 0u) |
       (login_blank_ ? 2048u : 0u));
  h = hash_bytes(h, session_.data(), session_.size());
  fold(config_.epoch), fold(next_sequence_), fold(stream_sequence_), fold(mass_cancel_number_), fold(round_);
  fold(static_cast<u64>(deadline_ns_)), fold(static_cast<u64>(lost_at_ns_)), fold(static_cast<u64>(held_until_ns_));
  fold(static_cast<u64>(cancel_check_ns_)), fold(duplicates_), fold(malformed_);
  h = messages_.fold(h);
  return orders_.state_hash(h);
}

}  // namespace peregrine
