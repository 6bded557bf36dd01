#include "market/feed_receiver.h"

#include <algorithm>
#include <bit>

#include "core/assert.h"
#include "core/hash.h"

namespace peregrine {
namespace {

constexpr u16 kAheadFrom = 4, kAheadMost = 64;  // messages of a datagram worth looking at beforehand

}  // namespace

FeedReceiver::FeedReceiver(const FeedReceiverConfig& config, FeedSink& sink)
    : config_(config),
      sink_(sink),
      window_mask_(std::bit_ceil(config.window_messages < 16 ? 16u : config.window_messages) - 1),
      window_((window_mask_ + 1) * std::max(config.slot_bytes, kSlotHead)),
      window_seq_(window_mask_ + 1) {
  PRG_ASSERT(config.slot_bytes >= kSlotHead && config.lines >= 1 && config.lines <= 2);
  PRG_ASSERT(config.max_request_messages >= 1 && config.max_request_messages < mold::kEndOfSession);
  session_ = config.session;
  session_known_ = session_proven_ = config.session != mold::Session{};
}

void FeedReceiver::start(TimeNs now) {
  heard_ns_ = now;
  line_heard_ns_[0] = line_heard_ns_[1] = now;
}

void FeedReceiver::on_packet(u8 line, Bytes packet, TimeNs now) {
  line = std::min(line, kLineRetransmission);
  ++stats_.packets[line];
  mold::Header h;
  if (!mold::well_formed(packet, h) || (h.seq == 0 && !h.heartbeat())) {
    ++stats_.malformed;  // dropped whole, as if lost
    return;
  }
  if (!ours(line, h)) {
    ++stats_.foreign;
    return;
  }
  if (state_ == State::kEnded) return;
  if (line != kLineRetransmission) {
    heard_ns_ = line_heard_ns_[line] = now;
    if (silent_) {
      silent_ = false;
      if (state_ != State::kDown) emit(state_, kFeedRecovered, expected_, 0);
    }
  }
  if (h.seq == 0) return;  // a heartbeat before the first message: a life sign, no position
  if (!plausible(h)) return;
  if (expected_ == 0) join(h, now);
  highest_ = std::max(highest_, h.next_seq());
  if (line != kLineRetransmission) line_next_[line] = std::max(line_next_[line], h.next_seq());
  if (h.end_of_session() && session_proven_) end_seq_ = h.seq;
  take_blocks(line, packet, h);
  settle(now);
}

// The first packet names the session, and may be damaged or a stranger's: it would make all that follow foreign. So it is
// believed when a second one has it too, and gives way when two others in a row agree on another before that.
bool FeedReceiver::ours(u8 line, const mold::Header& h) {
  if (session_proven_) return h.session == session_;
  if (!session_known_) {
    session_ = h.session;
    session_known_ = true;
    return true;
  }
  const bool answer = line == kLineRetransmission;  // proves nothing: we asked for it
  if (h.session == session_) {
    session_proven_ = !answer;
    return true;
  }
  if (answer) return false;
  if (h.session != other_session_) {
    other_session_ = h.session;
    return false;
  }
  begin_anew(h.session);
  session_proven_ = true;
  return true;
}

void FeedReceiver::begin_anew(const mold::Session& session) {
  if (snapshot_ == Snapshot::kOpen) sink_.close_snapshot();
  session_ = session;
  snapshot_ = Snapshot::kClosed;
  if (state_ != State::kDown) emit(State::kStale, kFeedStart, 0, 0);  // whatever was built of it is not to be traded on
  state_ = State::kDown;
  books_foreign_ = stats_.delivered != 0 || stats_.snapshots != 0;
  snapshot_needed_ = books_lost_ = declared_ = joining_ = answered_ = false;
  expected_ = highest_ = end_seq_ = hole_at_ = 0;
  line_next_[0] = line_next_[1] = 0;
  suspect_count_ = tries_ = snapshot_attempts_ = 0;
  hole_since_ns_ = request_due_ns_ = snapshot_due_ns_ = kNever;
  for (u64 i = 0; i <= window_mask_; ++i) window_seq_[i] = 0;
}

// A datagram far ahead of everything is more likely damaged than true; three in a row that agree are believed.
bool FeedReceiver::plausible(const mold::Header& h) {
  const u64 known = std::max(highest_, expected_);
  if (expected_ == 0 || h.seq <= known || h.seq - known <= config_.max_jump_messages) {
    return true;
  }
  suspect_count_ = h.seq == suspect_next_ ? suspect_count_ + 1 : 1;
  suspect_next_ = h.next_seq();
  if (suspect_count_ >= 3) return true;
  ++stats_.implausible;
  return false;
}

void FeedReceiver::join(const mold::Header& h, TimeNs now) {
  const bool from_first = !books_foreign_ && (h.seq == 1 || config_.join == FeedReceiverConfig::Join::kFromFirst);
  expected_ = from_first ? 1 : h.seq;
  highest_ = expected_;
  hole_at_ = expected_;
  if (from_first) {
    joining_ = h.seq > 1;
    if (joining_) set_state(State::kRecovering, kFeedStart, 1, h.seq);
  } else if ((books_foreign_ || config_.join == FeedReceiverConfig::Join::kSnapshot) && config_.snapshot_service) {
    begin_snapshot(State::kRecovering, kFeedStart, 1, h.seq, now);
  } else {
    books_lost_ = true;
    set_state(State::kStale, kFeedStart, 1, h.seq);
  }
}

void FeedReceiver::take_blocks(u8 line, Bytes packet, const mold::Header& h) {
  Bytes msg;
  if (h.seq >= expected_ && h.count >= kAheadFrom && h.count <= kAheadMost) {
    Bytes coming[kAheadMost];
    std::size_t n = 0;
    for (mold::BlockIterator it(packet, h); n < kAheadMost && it.next(msg);) coming[n++] = msg;
    sink_.on_ahead(std::span<const Bytes>(coming, n));
  }
  mold::BlockIterator it(packet, h);
  while (it.next(msg)) {
    if (it.seq() < expected_ && !(snapshot_needed_ && it.seq() >= snapshot_base_)) {
      ++stats_.duplicates;
    } else if (it.seq() == expected_ && !snapshot_needed_) {
      ++expected_;
      ++stats_.delivered;
      if (line == kLineRetransmission) answered_ = true;
      sink_.on_block(it.seq(), line, msg);
    } else {
      keep(it.seq(), line, msg);
    }
  }
}

void FeedReceiver::keep(u64 seq, u8 line, Bytes msg) {
  const u64 base = snapshot_needed_ ? snapshot_base_ : expected_;
  if (seq - base > window_mask_ || msg.size() + kSlotHead > config_.slot_bytes) {
    ++stats_.not_buffered;
    return;
  }
  if (kept(seq)) {
    ++stats_.duplicates;
    return;
  }
  window_seq_[seq & window_mask_] = seq;  // whatever was there is behind the base
  u8* p = slot(seq);
  store_be16(p, static_cast<u16>(msg.size()));
  p[2] = line;
  if (!msg.empty()) std::memcpy(p + kSlotHead, msg.data(), msg.size());
  ++stats_.buffered;
}

void FeedReceiver::drain() {
  while (kept(expected_)) {
    const u8* p = slot(expected_);
    window_seq_[expected_ & window_mask_] = 0;
    const u64 seq = expected_++;
    ++stats_.delivered;
    sink_.on_block(seq, p[2], Bytes{p + kSlotHead, load_be16(p)});
  }
}

// After anything moved: is there a hole, is it closed, is it time to ask, has the session ended?
bool FeedReceiver::settle_once(TimeNs now) {
  if (snapshot_needed_ || expected_ == 0) return false;
  drain();
  highest_ = std::max(highest_, expected_);
  if (!hole()) {
    hole_since_ns_ = request_due_ns_ = kNever;
    declared_ = joining_ = answered_ = false;
    tries_ = 0;
    hole_at_ = expected_;
    if (end_seq_ != 0 && expected_ >= end_seq_) {
      set_state(State::kEnded, kFeedEndOfSession, expected_, 0);
    } else if (!books_lost_ && state_ != State::kLive) {
      set_state(State::kLive, state_ == State::kDown ? kFeedStart : kFeedRecovered, expected_, 0);
    }
    return false;
  }
  const bool moved = hole_at_ != expected_;
  hole_at_ = expected_;
  if (!declared_) {
    if (hole_since_ns_ == kNever || moved) hole_since_ns_ = now;
    if (!joining_ && !both_lines_past() && now - hole_since_ns_ < config_.arbitration_wait_ns) return false;
    declare_gap();
    if (!config_.request_service) return give_up(now);
    send_request(now);
  } else if (moved) {
    tries_ = 0;
    request_due_ns_ = now + config_.request_timeout_ns;
    // The answer was shorter than asked for, or this is another hole: ask on. A slower line filling in is left to it.
    if (answered_ || expected_ >= asked_to_) send_request(now);
  }
  return false;
}

bool FeedReceiver::both_lines_past() const {
  return config_.lines == 2 && line_next_[0] > expected_ && line_next_[1] > expected_;
}

// One past the last missing message of the hole at expected_, looked for no further than `limit` messages.
u64 FeedReceiver::hole_end(u64 limit) const {
  const u64 stop = highest_ - expected_ > limit ? expected_ + limit : highest_;
  u64 to = expected_;
  while (to < stop && !(to - expected_ <= window_mask_ && kept(to))) ++to;
  return to;
}

void FeedReceiver::declare_gap() {
  declared_ = true;
  tries_ = 0;
  ++stats_.gaps;
  if (!joining_ && !books_lost_) set_state(State::kGapped, kFeedGap, expected_, hole_end(window_mask_ + 1));
}

void FeedReceiver::send_request(TimeNs now) {
  const u64 to = hole_end(config_.max_request_messages);
  ++tries_;
  ++stats_.requests;
  answered_ = false;
  asked_to_ = to;
  request_due_ns_ = now + config_.request_timeout_ns;
  sink_.request(expected_, static_cast<u16>(to - expected_));
}

// The hole stays. With a snapshot service the books are rebuilt; without one the hole is skipped and the feed is
// stale from here on. True in the second case: there may be another hole behind it.
bool FeedReceiver::give_up(TimeNs now) {
  u64 to = hole_end(window_mask_ + 1);
  // Nothing is kept past the window: a hole that fills it goes on to the highest number heard of. In one step, however
  // far that is: a damaged number must not keep us here.
  if (to - expected_ > window_mask_) to = highest_;
  const u64 from = expected_;
  if (config_.snapshot_service) {
    begin_snapshot(State::kStale, kFeedGap, from, to, now);
    return false;
  }
  stats_.lost += to - from;
  books_lost_ = true;
  joining_ = declared_ = false;
  hole_since_ns_ = request_due_ns_ = kNever;
  tries_ = 0;
  expected_ = to;
  emit(state_ = State::kStale, kFeedGap, from, to);
  return true;
}

void FeedReceiver::begin_snapshot(State s, u8 reason, u64 from, u64 to, TimeNs now) {
  if (!snapshot_needed_) {
    // Room for what comes while the snapshot is read; a little of what came before, for a snapshot that lags.
    const u64 back = (window_mask_ + 1) / 4;
    snapshot_base_ = std::max<u64>(1, highest_ > back ? highest_ - back : 1);
  }
  snapshot_needed_ = true;
  declared_ = joining_ = false;
  hole_since_ns_ = request_due_ns_ = kNever;
  snapshot_ = Snapshot::kOpen;
  snapshot_n_ = 0;
  ++snapshot_attempts_;
  ++stats_.snapshots;
  snapshot_due_ns_ = now + config_.snapshot_timeout_ns;
  if (state_ != s || reason != kFeedSnapshotFailed) set_state(s, reason, from, to);
  sink_.open_snapshot();
}

bool decode_snapshot_end(Bytes msg, u64& next) {
  next = 0;
  bool good = msg.size() >= 21 && msg[0] == 'G';
  bool digits = false;
  for (std::size_t i = 1; good && i < 21; ++i) {
    const u8 c = msg[i];
    if (c == ' ' && !digits) continue;           // padded on the left
    if (c == ' ' && i > 1) {                     // or on the right
      for (; i < 21; ++i) good &= msg[i] == ' ';
      break;
    }
    good = c >= '0' && c <= '9' && next <= (UINT64_MAX >> 1) / 10 - 1;
    next = next * 10 + (c - '0');
    digits = true;
  }
  return good && next != 0;
}

void FeedReceiver::on_snapshot_packet(u8 type, Bytes payload, TimeNs now) {
  if (snapshot_ != Snapshot::kOpen) return;
  snapshot_due_ns_ = now + config_.snapshot_timeout_ns;
  if (type == 'J' || type == 'Z') {
    fail_snapshot(now);
    return;
  }
  if (type != 'S') return;  // login accepted, heartbeats, debug text
  if (payload.empty() || payload[0] != 'G') {
    sink_.on_snapshot_block(++snapshot_n_, payload);
    return;
  }
  u64 next = 0;
  if (!decode_snapshot_end(payload, next)) {
    fail_snapshot(now);
    return;
  }
  sink_.on_snapshot_block(++snapshot_n_, payload);
  finish_snapshot(next, now);
}

void FeedReceiver::on_snapshot_closed(TimeNs now) {
  if (snapshot_ == Snapshot::kOpen) fail_snapshot(now);
}

void FeedReceiver::fail_snapshot(TimeNs now) {
  ++stats_.snapshot_failures;
  sink_.close_snapshot();
  set_state(State::kStale, kFeedSnapshotFailed, expected_, 0);
  const bool again = config_.snapshot_retries == 0 || snapshot_attempts_ < config_.snapshot_retries;
  snapshot_ = again ? Snapshot::kWaiting : Snapshot::kClosed;
  snapshot_due_ns_ = again ? now + config_.snapshot_retry_ns : kNever;
}

void FeedReceiver::finish_snapshot(u64 next, TimeNs now) {
  sink_.close_snapshot();
  snapshot_ = Snapshot::kClosed;
  snapshot_due_ns_ = kNever;
  snapshot_attempts_ = 0;
  snapshot_needed_ = books_lost_ = false;
  if (next > expected_) stats_.lost += next - expected_;
  expected_ = next;
  // What was heard of before may have been a damaged packet: only what is really here counts as being ahead.
  highest_ = next;
  for (u64 i = 0; i <= window_mask_; ++i) {
    const u64 seq = window_seq_[i];
    if (seq < next || seq - next > window_mask_) {
      window_seq_[i] = 0;
    } else {
      highest_ = std::max(highest_, seq + 1);
    }
  }
  if (end_seq_ != 0 && end_seq_ > highest_) highest_ = end_seq_;
  for (u64& l : line_next_) l = std::min(l, highest_);
  hole_at_ = next;
  settle(now);
}

void FeedReceiver::resync(TimeNs now) {
  if (!config_.snapshot_service || expected_ == 0 || state_ == State::kEnded || snapshot_ == Snapshot::kOpen) return;
  begin_snapshot(State::kStale, kFeedGap, 0, 0, now);
}

void FeedReceiver::on_timer(TimeNs now) {
  if (state_ == State::kEnded) return;
  if (!silent_ && now - heard_ns_ >= config_.silence_timeout_ns) {
    silent_ = true;
    ++stats_.silences;
    emit(State::kDown, kFeedSilence, expected_, 0);
  }
  if (snapshot_ != Snapshot::kClosed && now >= snapshot_due_ns_) {
    if (snapshot_ == Snapshot::kOpen) {
      fail_snapshot(now);
    } else {
      begin_snapshot(State::kStale, kFeedSnapshotFailed, 0, 0, now);
    }
  }
  if (!hole()) return;
  if (!declared_) {
    settle(now);
  } else if (now >= request_due_ns_) {
    if (tries_ < config_.request_retries) {
      send_request(now);
    } else if (give_up(now)) {
      settle(now);
    }
  }
}

bool FeedReceiver::line_silent(u8 line, TimeNs now) const {
  return line > kLineB || now - line_heard_ns_[line] >= config_.silence_timeout_ns;
}

TimeNs FeedReceiver::next_timer_ns() const {
  if (state_ == State::kEnded) return kNever;
  TimeNs due = std::min(request_due_ns_, snapshot_due_ns_);
  if (!silent_) due = std::min(due, heard_ns_ + config_.silence_timeout_ns);
  if (hole_since_ns_ != kNever && !declared_) due = std::min(due, hole_since_ns_ + config_.arbitration_wait_ns);
  return due;
}

void FeedReceiver::set_state(State s, u8 reason, u64 from, u64 to) {
  state_ = s;
  if (s == State::kEnded) silent_ = false;
  if (!silent_) emit(s, reason, from, to);
}

void FeedReceiver::emit(State s, u8 reason, u64 from, u64 to) {
  sink_.on_state({static_cast<u8>(s), reason, {}, from, to});
}

u64 FeedReceiver::state_hash() const {
  u64 h = hash_bytes(0x464545, session_.data(), session_.size());
  h = hash_fold(h, expected_);
  h = hash_fold(h, highest_);
  h = hash_fold(h, static_cast<u64>(state_) | static_cast<u64>(snapshot_) << 8 | static_cast<u64>(silent_) << 16 |
                       static_cast<u64>(snapshot_needed_) << 17 | static_cast<u64>(books_lost_) << 18 |
                       static_cast<u64>(declared_) << 19 | static_cast<u64>(joining_) << 20);
  h = hash_fold(h, tries_);
  return hash_fold(h, snapshot_n_);
}

}  // namespace peregrine
