#include "engine/feed_router.h"

#include <bit>
#include <cstring>

#include "core/bytes.h"
#include "core/hash.h"
#include "engine/input.h"
#include "market/itch.h"

namespace peregrine::engine {

using journal::FeedHead;
using journal::FeedState;
using journal::RecordType;

namespace {

u64 stock_word(const u8* stock) {
  u64 w;
  std::memcpy(&w, stock, 8);
  return w;
}

// Where a message names its stock; 0 = it does not.
u32 stock_at(u8 type) {
  switch (type) {
    case 'R': case 'H': case 'Y': case 'K': case 'J': case 'h': case 'N': case 'O': return 11;
    case 'L': return 15;
    case 'Q': return 19;
    case 'A': case 'F': case 'P': return 24;
    case 'I': return 28;
    default: return 0;
  }
}

// Messages that name no stock and belong to an order or a print: without a known locate they are nobody's.
bool of_an_order(u8 type) {
  return type == 'D' || type == 'U' || type == 'E' || type == 'X' || type == 'C' || type == 'B';
}

}  // namespace

OwnedRing::OwnedRing(u64 capacity_bytes) : memory(RecordRing::bytes_needed(capacity_bytes)) {
  const Error error = RecordRing::create(memory.data(), memory.size(), capacity_bytes, ring);
  PRG_ASSERT(error.ok());
}

FeedRouter::FeedRouter(const std::vector<std::vector<std::string>>& symbols, u64 hold_bytes,
                       TimeNs snapshot_timeout_ns, TimeNs snapshot_retry_ns, Transport& transport)
    : lanes_(symbols.size()),
      hold_bytes_(hold_bytes),
      timeout_ns_(snapshot_timeout_ns),
      retry_ns_(snapshot_retry_ns),
      transport_(transport),
      by_locate_(65536) {
  PRG_ASSERT(!symbols.empty() && symbols.size() <= kMaxShards);
  std::memset(by_locate_.data(), kUnknown, 65536);
  std::size_t n = 0;
  for (const auto& of_shard : symbols) n += of_shard.size();
  named_.resize(std::bit_ceil(2 * n + 2));
  named_mask_ = named_.size() - 1;
  for (std::size_t s = 0; s < symbols.size(); ++s) {
    if (hold_bytes > 0) lanes_[s].held = std::make_unique<OwnedRing>(hold_bytes);
    for (const std::string& symbol : symbols[s]) {
      u8 stock[8];
      store_alpha(stock, 8, symbol.data(), symbol.size());
      u64 at = hash_fold(0, stock_word(stock)) & named_mask_;
      while (named_[at].stock != 0) at = (at + 1) & named_mask_;
      named_[at] = {stock_word(stock), static_cast<u8>(s)};
    }
  }
}

u8 FeedRouter::owner_of(const u8* stock) const {
  const u64 word = stock_word(stock);
  for (u64 at = hash_fold(0, word) & named_mask_; named_[at].stock != 0; at = (at + 1) & named_mask_) {
    if (named_[at].stock == word) return named_[at].shard;
  }
  return kNobody;
}

u8 FeedRouter::route(Bytes msg) {
  if (msg.size() < itch::kHeaderBytes) return kEverybody;
  const u16 locate = load_be16(msg.data() + 1);
  if (locate == 0) return kEverybody;
  u8& known = by_locate_[locate];
  const u8 type = msg[0];
  if (known != kUnknown && type != 'R') [[likely]] return known;
  const u32 at = stock_at(type);
  if (at != 0 && msg.size() >= at + 8) return known = owner_of(msg.data() + at);
  if (known != kUnknown) return known;
  return of_an_order(type) || at != 0 ? kNobody : kEverybody;
}

template <class F>
void FeedRouter::each(u8 to, F&& f) {
  if (to < kMaxShards) {
    f(lanes_[to]);
  } else if (to == kEverybody) {
    for (Lane& lane : lanes_) f(lane);
  }
}

void FeedRouter::begin_packet(u64 received_ticks, TimeNs now) {
  received_ticks_ = received_ticks;
  now_ = now;
  quiet_ = 0;
  for (std::size_t s = 0; s < lanes_.size(); ++s) {
    if (now - lanes_[s].fed_ns >= kLifeSignNs) quiet_ |= 1u << s;
  }
}

void FeedRouter::on_block(u64 seq, u8 line, Bytes msg) {
  const u8 to = route(msg);
  each(to, [&](Lane& lane) { deliver(lane, seq, line, msg); });
  if (to == kNobody) ++skipped_;
  if (quiet_ == 0) [[likely]] return;
  for (std::size_t s = 0; s < lanes_.size(); ++s) {
    if ((quiet_ >> s & 1) != 0 && lanes_[s].fed_ns != now_ && lanes_[s].state == State::kFlowing)
      deliver(lanes_[s], seq, line, msg);
  }
  quiet_ = 0;
}

void FeedRouter::deliver(Lane& lane, u64 seq, u8 line, Bytes msg) {
  if (seq < lane.from_seq) [[unlikely]] return;  // its snapshot was ahead of the feed
  lane.fed_ns = now_;
  switch (lane.state) {
    case State::kFlowing: {
      const FeedHead head{seq, line, {}};
      if (lane.sink->put(RecordType::kFeed, {received_ticks_, 0}, bytes_of(head), msg)) [[likely]] {
        ++lane.stats.delivered;
        return;
      }
      ++lane.stats.dropped;
      overrun(lane);
      return;
    }
    case State::kRebuilding:
    case State::kCatchingUp: hold(lane, seq, line, msg); return;
    default: ++lane.stats.dropped; return;
  }
}

// ---- the snapshot of the whole feed: only who is flowing takes part

bool FeedRouter::snapshot_to(Lane& lane, Bytes msg) {
  const FeedHead head{++lane.snapshot_n, 3, {}};
  return lane.sink->put(RecordType::kSnapshot, {}, bytes_of(head), msg);
}

void FeedRouter::on_snapshot_block(u64 n, Bytes msg) {
  if (n == 1) {
    for (Lane& lane : lanes_) {
      if (lane.state == State::kFlowing) lane.snapshot_n = 0;
    }
  }
  const bool end = !msg.empty() && msg[0] == 'G';
  each(end ? kEverybody : route(msg), [&](Lane& lane) {
    if (lane.state != State::kFlowing) return;
    if (end) lane.from_seq = 0;
    if (!snapshot_to(lane, msg)) overrun(lane);
  });
}

void FeedRouter::on_state(const journal::FeedStateChange& change) {
  state_ = change;
  const bool lost = change.state == static_cast<u8>(FeedState::kStale) ||
                    change.state == static_cast<u8>(FeedState::kRecovering);
  if (lost && rebuilding_ >= 0) abort_rebuild(now_, State::kMarked);
  for (Lane& lane : lanes_) {
    if (lane.state == State::kCatchingUp && lost) lane.state = State::kMarked;
    if (lane.state == State::kFlowing && !lane.sink->put(RecordType::kFeedState, {}, bytes_of(change), {})) overrun(lane);
  }
}

bool FeedRouter::snapshot_room(TimeNs now) {
  bool room = true;
  for (Lane& lane : lanes_) {
    if (lane.state != State::kFlowing || lane.sink->room_bytes() >= kSnapshotRoomBytes) {
      lane.no_room_ns = 0;
      continue;
    }
    if (lane.no_room_ns == 0) lane.no_room_ns = now;
    if (now - lane.no_room_ns >= kSnapshotPatienceNs) {
      lane.no_room_ns = 0;
      overrun(lane);
    } else {
      room = false;
    }
  }
  return room;
}

// ---- overrun and rebuild of one shard

void FeedRouter::overrun(Lane& lane) {
  if (rebuilding_ >= 0 && &lanes_[static_cast<std::size_t>(rebuilding_)] == &lane) {
    abort_rebuild(now_, State::kOverrun);
  }
  lane.state = State::kOverrun;
  ++lane.stats.overruns;
  lane.sink->overrun(++lane.epoch);
}

void FeedRouter::abort_rebuild(TimeNs now, State next) {
  lanes_[static_cast<std::size_t>(rebuilding_)].state = next;
  rebuilding_ = -1;
  rebuild_due_ns_ = now + retry_ns_;
  transport_.close_rebuild();
}

void FeedRouter::hold(Lane& lane, u64 seq, u8 line, Bytes msg) {
  const FeedHead head{seq, line, {}};
  u8* p = lane.held->ring.try_reserve(sizeof head + msg.size());
  if (p == nullptr) {
    overrun(lane);
    return;
  }
  std::memcpy(p, &head, sizeof head);
  if (!msg.empty()) std::memcpy(p + sizeof head, msg.data(), msg.size());
  lane.held->ring.commit(0, sizeof head + msg.size());
  if (const u64 used = hold_bytes_ - lane.held->ring.free_bytes(); used > lane.stats.held_high) lane.stats.held_high = used;
}

bool FeedRouter::rebuild_room() const {
  return rebuilding_ >= 0 && lanes_[static_cast<std::size_t>(rebuilding_)].sink->room_bytes() >= kSnapshotRoomBytes;
}

void FeedRouter::on_rebuild_packet(u8 type, Bytes payload, TimeNs now) {
  if (rebuilding_ < 0) return;
  Lane& lane = lanes_[static_cast<std::size_t>(rebuilding_)];
  rebuild_due_ns_ = now + timeout_ns_;
  if (type == 'J' || type == 'Z') {
    abort_rebuild(now, State::kMarked);
    return;
  }
  if (type != 'S' || payload.empty()) return;  // login accepted, heartbeats, debug text
  if (payload[0] != 'G') {
    const u8 to = route(payload);
    const bool ours = to == kEverybody || (to < kMaxShards && &lanes_[to] == &lane);
    if (ours && !snapshot_to(lane, payload)) overrun(lane);
    return;
  }
  u64 next = 0;
  // A snapshot older than what is held leaves a hole between the two: once more.
  if (!decode_snapshot_end(payload, next) || next < lane.from_seq) {
    abort_rebuild(now, State::kMarked);
    return;
  }
  if (!snapshot_to(lane, payload)) {
    overrun(lane);
    return;
  }
  lane.from_seq = next;
  lane.state = State::kCatchingUp;
  rebuilding_ = -1;
  rebuild_due_ns_ = now;
  transport_.close_rebuild();
}

void FeedRouter::on_rebuild_lost(TimeNs now) {
  if (rebuilding_ >= 0) abort_rebuild(now, State::kMarked);
}

// What was held while the snapshot came, a batch at a time; then the shard flows with the others again.
bool FeedRouter::catch_up(Lane& lane) {
  RecordRing::Record record{};
  bool moved = false;
  for (int n = 0; n < kHeldAtOnce && lane.held->ring.peek(record); ++n) {
    FeedHead head;
    std::memcpy(&head, record.payload.data(), sizeof head);
    if (head.feed_seq >= lane.from_seq) {
      if (!lane.sink->put(RecordType::kFeed, {}, bytes_of(head), record.payload.subspan(sizeof head))) return moved;
      ++lane.stats.delivered;
    }
    lane.held->ring.consume();
    moved = true;
  }
  if (!lane.held->ring.empty()) return moved;
  journal::FeedStateChange whole = state_;
  whole.reason = kFeedRecovered;
  whole.from_seq = whole.to_seq = 0;
  if (!lane.sink->put(RecordType::kFeedState, {}, bytes_of(whole), {})) return moved;
  lane.state = State::kFlowing;
  ++lane.stats.rebuilt;
  return true;
}

bool FeedRouter::poll(TimeNs now, u64 next_seq) {
  now_ = now;
  bool moved = false;
  const bool live = state_.state == static_cast<u8>(FeedState::kLive) || state_.state == static_cast<u8>(FeedState::kGapped);
  for (std::size_t s = 0; s < lanes_.size(); ++s) {
    Lane& lane = lanes_[s];
    if (lane.state == State::kFlowing) [[likely]] {
      if (lane.sink->behind()) overrun(lane);
      continue;
    }
    if (lane.state == State::kOverrun && lane.sink->put_overrun_mark(lane.epoch)) {
      lane.state = State::kMarked;
      moved = true;
    }
    if (lane.state == State::kMarked && live && rebuilding_ < 0 && now >= rebuild_due_ns_ &&
        lane.sink->room_bytes() >= kSnapshotRoomBytes) {
      for (RecordRing::Record old{}; lane.held->ring.peek(old);) lane.held->ring.consume();
      lane.state = State::kRebuilding;
      lane.snapshot_n = 0;
      lane.from_seq = next_seq;
      ++lane.stats.rebuilds;
      rebuilding_ = static_cast<int>(s);
      rebuild_due_ns_ = now + timeout_ns_;
      transport_.open_rebuild();
      moved = true;
    }
    if (lane.state == State::kRebuilding && now >= rebuild_due_ns_) abort_rebuild(now, State::kMarked);
    if (lane.state == State::kCatchingUp) moved |= catch_up(lane);
  }
  return moved;
}

}  // namespace peregrine::engine
