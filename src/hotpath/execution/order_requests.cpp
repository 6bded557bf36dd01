// What we send: new orders, replaces, cancels. The session throttle lives here; a cancel it holds back goes later.
#include "core/assert.h"
#include "execution/order_session.h"

namespace peregrine {
namespace {

constexpr u8 kSideLetters[4] = {'S', 'S', 'T', 'E'};  // by SellMark

u8 side_letter(Side side, SellMark mark) {
  return side == Side::kBuy ? static_cast<u8>('B') : kSideLetters[static_cast<u8>(mark) & 3];
}

// Eight hex digits, most significant first, as the bytes of a word: a nibble moves to each byte, all at once.
u64 hex_digits(u32 v) {
  u64 x = v;
  x = (x | x << 16) & 0x0000FFFF0000FFFFull;
  x = (x | x << 8) & 0x00FF00FF00FF00FFull;
  x = (x | x << 4) & 0x0F0F0F0F0F0F0F0Full;
  const u64 letters = ((x + 0x0606060606060606ull) >> 4) & 0x0101010101010101ull;
  return __builtin_bswap64(x + 0x3030303030303030ull + letters * 7);
}

}  // namespace

const char* send_error_name(SendError e) {
  constexpr const char* names[] = {
      "sent",      "held",          "not_ready", "pool_full",       "throttled",          "bad_quantity",
      "bad_price", "unknown_order", "not_open",  "replace_pending", "unknown_instrument", "cancel_pending"};
  const auto i = static_cast<u8>(e);
  return i < sizeof(names) / sizeof(names[0]) ? names[i] : "?";
}

// epoch (4 hex digits) · order number (8) · strategy (2): tells a run's orders apart in every report.
ouch::ClOrdId OrderSession::cl_ord_id(u32 number, u32 strategy) const {
  const u64 e = hex_digits(config_.epoch) >> 32, n = hex_digits(number), s = hex_digits(strategy) >> 48;
  ouch::ClOrdId id;
  std::memcpy(id.data(), &e, 4);
  std::memcpy(id.data() + 4, &n, 8);
  std::memcpy(id.data() + 12, &s, 2);
  return id;
}

template <class M>
void OrderSession::emit(const M& m, journal::IntentHead head, const Cause& cause, TimeNs now, SessionOut& out) {
  u8 buffer[ouch::kMaxMessageBytes];
  PRG_ASSERT(ouch::encoded_bytes(m) <= sizeof(buffer));
  const std::size_t n = ouch::encode(m, buffer);
  head.action = cause.action;
  head.decision = cause.decision;
  head.policy_version = cause.policy_version;
  messages_.record(now);
  out.intent(head, Bytes(buffer, n));
}

void OrderSession::query(TimeNs now, SessionOut& out) {
  set_phase(SessionPhase::kQuerying, out);
  deadline_ns_ = now + config_.answer_timeout_ns;
  journal::IntentHead head{};
  head.kind = static_cast<u8>(journal::IntentKind::kAccountQuery);
  head.instrument = kNoInstrument;
  emit(ouch::AccountQuery{}, head, Cause{}, now, out);
}

bool OrderSession::room(TimeNs now, bool is_cancel) const {
  const u32 used = messages_.count(now, config_.message_window_ns);
  return is_cancel ? used < config_.max_messages : u64{used} + config_.cancel_reserve < config_.max_messages;
}

OrderSession::Sent OrderSession::enter(const EnterRequest& r, TimeNs now, SessionOut& out) {
  const NewOrder& n = r.order;
  if (!ready()) return {SendError::kNotReady, 0};
  if (n.instrument >= symbols_.size()) return {SendError::kUnknownInstrument, 0};
  if (n.qty_lots < 1 || n.qty_lots > ouch::kMaxQuantity) return {SendError::kBadQuantity, 0};
  if (n.price_ticks < 1 || n.price_ticks > static_cast<i64>(ouch::kMaxPrice)) return {SendError::kBadPrice, 0};
  if (!room(now, false)) return {SendError::kThrottled, 0};
  const u32 number = orders_.next_user_ref_num();
  if (number == 0) {
    if (orders_.last_user_ref_num() == UINT32_MAX) out.alarm(SessionAlarm::kNumbersUsedUp, 0, 0);
    return {SendError::kPoolFull, 0};
  }
  ouch::EnterOrder m;
  m.user_ref_num = number;
  m.side = side_letter(n.side, n.mark);
  m.quantity = static_cast<u32>(n.qty_lots);
  m.symbol = symbols_.name(n.instrument);
  m.price = static_cast<u64>(n.price_ticks);
  m.tif = n.tif;
  m.display = r.display;
  m.capacity = config_.capacity;
  m.cl_ord_id = cl_ord_id(number, n.strategy);
  m.appendage = (r.post_only ? appendage_post_only_ : appendage_).bytes();
  journal::IntentHead head{};
  head.kind = static_cast<u8>(journal::IntentKind::kEnter);
  head.side = static_cast<u8>(n.side);
  head.tif = n.tif;
  head.user_ref_num = number;
  head.instrument = n.instrument;
  head.price_ticks = n.price_ticks;
  head.qty_lots = n.qty_lots;
  emit(m, head, {n.decision, r.policy_version, r.action}, now, out);
  orders_.on_enter(number, n, now);
  return {SendError::kSent, number};
}

OrderSession::Sent OrderSession::replace(u32 orig, PriceTicks price, QtyLots total, const Cause& cause, TimeNs now,
                                         SessionOut& out) {
  if (!ready()) return {SendError::kNotReady, 0};
  const Order* o = orders_.find(orig);
  if (!o) return {SendError::kUnknownOrder, 0};
  if (o->state == OrderState::kPendingReplace) return {SendError::kReplacePending, 0};
  if (o->state == OrderState::kPendingCancel || o->cancel_wanted) return {SendError::kCancelPending, 0};
  if (o->state != OrderState::kLive) return {SendError::kNotOpen, 0};
  if (total <= o->executed_lots || total > ouch::kMaxQuantity) return {SendError::kBadQuantity, 0};
  if (price < 1 || price > static_cast<i64>(ouch::kMaxPrice)) return {SendError::kBadPrice, 0};
  if (!room(now, false)) return {SendError::kThrottled, 0};
  const u32 number = orders_.next_user_ref_num();
  if (number == 0) return {SendError::kPoolFull, 0};
  ouch::ReplaceOrder m;
  m.orig_ref_num = orig;
  m.user_ref_num = number;
  m.quantity = static_cast<u32>(total);
  m.price = static_cast<u64>(price);
  m.tif = o->tif;
  m.cl_ord_id = cl_ord_id(number, o->strategy);
  journal::IntentHead head{};
  head.kind = static_cast<u8>(journal::IntentKind::kReplace);
  head.side = static_cast<u8>(o->side);
  head.tif = o->tif;
  head.user_ref_num = number;
  head.orig_ref_num = orig;
  head.instrument = o->instrument;
  head.price_ticks = price;
  head.qty_lots = total;
  emit(m, head, cause, now, out);
  orders_.on_replace(orig, number, price, total, cause.decision, now);
  return {SendError::kSent, number};
}

void OrderSession::send_cancel(u32 number, QtyLots intended, const Cause& cause, TimeNs now, SessionOut& out) {
  const Order* o = orders_.find(number);
  ouch::CancelOrder m;
  m.user_ref_num = number;
  m.quantity = static_cast<u32>(intended);
  m.long_form = config_.long_cancel;
  journal::IntentHead head{};
  head.kind = static_cast<u8>(journal::IntentKind::kCancel);
  head.side = static_cast<u8>(o->side);
  head.tif = o->tif;
  head.user_ref_num = number;
  head.orig_ref_num = number;
  head.instrument = o->instrument;
  head.price_ticks = o->price_ticks;
  head.qty_lots = intended;
  emit(m, head, cause, now, out);
  orders_.on_cancel_sent(number, intended == 0, now);
  const TimeNs due = now + config_.cancel_timeout_ns;
  if (due < cancel_check_ns_) cancel_check_ns_ = due;
}

// An order being replaced is cancelled under both numbers: whichever the venue knows by then is the one that counts.
void OrderSession::cancel_chain(u32 number, const Cause& cause, TimeNs now, SessionOut& out) {
  const Order* o = orders_.find(number);
  const u32 next = o->state == OrderState::kPendingReplace ? o->replaced_by : 0;
  send_cancel(number, 0, cause, now, out);
  const Order* r = orders_.find(next);
  if (next != 0 && r && is_open(r->state) && !r->cancel_asked) send_cancel(next, 0, cause, now, out);
}

SendError OrderSession::cancel(u32 number, QtyLots intended, const Cause& cause, TimeNs now, SessionOut& out) {
  const Order* o = orders_.find(number);
  if (!o) return SendError::kUnknownOrder;
  if (!is_open(o->state)) return SendError::kNotOpen;
  if (intended < 0 || intended > ouch::kMaxQuantity) return SendError::kBadQuantity;
  if (intended > 0) {
    if (phase_ != SessionPhase::kReady) return SendError::kNotReady;
    if (o->state == OrderState::kPendingReplace) return SendError::kReplacePending;
    if (o->state != OrderState::kLive) return SendError::kCancelPending;
    if (intended >= o->total_lots - o->canceled_lots) return SendError::kBadQuantity;
    if (!room(now, true)) return SendError::kThrottled;
    send_cancel(number, intended, cause, now, out);
    return SendError::kSent;
  }
  // The unanswered replacement of an order stands for the whole chain.
  if (const Order* orig = orders_.find(o->orig_ref_num);
      orig && orig->state == OrderState::kPendingReplace && orig->replaced_by == number && !o->acked)
    number = orig->user_ref_num, o = orig;
  if (o->cancel_asked) return SendError::kCancelPending;
  if (phase_ != SessionPhase::kReady || !room(now, true)) {
    orders_.set_cancel_wanted(number, true);
    if (phase_ == SessionPhase::kReady) {
      const TimeNs free = messages_.free_at(now, config_.message_window_ns, config_.max_messages);
      if (free < held_until_ns_) held_until_ns_ = free;
    }
    return SendError::kHeld;
  }
  cancel_chain(number, cause, now, out);
  return SendError::kSent;
}

void OrderSession::want_all_cancelled() {
  for (u32 n = orders_.first_open(); n != 0; n = orders_.next_open(n)) orders_.set_cancel_wanted(n, true);
}

void OrderSession::pump_cancels(TimeNs now, SessionOut& out) {
  held_until_ns_ = kNever;
  for (u32 n = orders_.first_open(); n != 0; n = orders_.next_open(n)) {
    const Order* o = orders_.find(n);
    if (!o->cancel_wanted || o->cancel_asked) continue;
    if (!room(now, true)) {
      held_until_ns_ = messages_.free_at(now, config_.message_window_ns, config_.max_messages);
      return;
    }
    cancel_chain(n, Cause{}, now, out);
  }
}

// A superfluous cancel is never answered, a crossed one is answered by the fill; one that is neither is asked again.
void OrderSession::check_cancel_answers(TimeNs now, SessionOut& out) {
  cancel_check_ns_ = kNever;
  bool again = false;
  for (u32 n = orders_.first_open(); n != 0; n = orders_.next_open(n)) {
    const Order* o = orders_.find(n);
    if (!o->cancel_asked) continue;
    const TimeNs due = o->asked_ns + config_.cancel_timeout_ns;
    if (due > now) {
      if (due < cancel_check_ns_) cancel_check_ns_ = due;
      continue;
    }
    out.alarm(SessionAlarm::kCancelUnanswered, n, 0);
    orders_.set_cancel_wanted(n, true);
    orders_.forget_cancel(n);
    again = true;
  }
  if (again && held_until_ns_ > now) held_until_ns_ = now;
}

bool OrderSession::send_mass_cancel(const Cause& cause, TimeNs now, SessionOut& out) {
  const u32 last = orders_.last_user_ref_num();
  if (last == UINT32_MAX) {
    out.alarm(SessionAlarm::kNumbersUsedUp, 0, 0);
    return false;
  }
  const u32 number = last + 1;
  ouch::MassCancel m;
  m.user_ref_num = number;
  std::memcpy(m.firm.data(), config_.firm, 4);
  journal::IntentHead head{};
  head.kind = static_cast<u8>(journal::IntentKind::kMassCancel);
  head.user_ref_num = number;
  head.instrument = kNoInstrument;
  emit(m, head, cause, now, out);
  orders_.take_number(number);
  mass_cancel_number_ = number;
  return true;
}

void OrderSession::mass_cancel(const Cause& cause, TimeNs now, SessionOut& out) {
  want_all_cancelled();  // held until a connection is agreed on, where there is none now
  if (phase_ != SessionPhase::kReady && phase_ != SessionPhase::kHalted) return;
  if (config_.venue_mass_cancel && send_mass_cancel(cause, now, out)) {
    held_until_ns_ = now + config_.answer_timeout_ns;
    return;
  }
  pump_cancels(now, out);
}

}  // namespace peregrine
