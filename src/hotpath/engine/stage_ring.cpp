#include "engine/stage_ring.h"

#include <cstring>

#include "engine/input.h"

namespace peregrine::engine {

using journal::RecordType;

bool InputRing::put(RecordType type, const Stamps& stamps, Bytes head, Bytes body) {
  u8* p = ring_.ring.try_reserve(sizeof stamps + head.size() + body.size());
  if (p == nullptr) return false;
  std::memcpy(p, &stamps, sizeof stamps);
  if (!head.empty()) std::memcpy(p + sizeof stamps, head.data(), head.size());
  if (!body.empty()) std::memcpy(p + sizeof stamps + head.size(), body.data(), body.size());
  ring_.ring.commit(static_cast<u32>(type), sizeof stamps + head.size() + body.size());
  if ((++puts_ & 15) == 0) note_high();  // reading the other side's position costs a cache miss
  return true;
}

void InputRing::note_high() {
  const u64 held = ring_.ring.capacity() - ring_.ring.free_bytes();
  if (held > high_) high_ = held;
}

u64 InputRing::room_bytes() const {
  const u64 room = ring_.ring.free_bytes();
  return room > longest_ ? room - longest_ : 0;
}

bool InputRing::put_overrun_mark(u32 epoch) {
  note_high();
  const u32 mark[2] = {epoch, 0};
  return ring_.ring.try_push(kMark, Bytes(reinterpret_cast<const u8*>(mark), sizeof mark));
}

void InputRing::overrun(u32 epoch) {
  ++full_;
  behind_.store(epoch, std::memory_order_relaxed);
  overrun_.store(epoch, std::memory_order_release);
}

bool InputRing::too_old(u64 received_ticks, const ThreadClock& clock) const {
  if (max_lag_ns_ == 0 || received_ticks == 0) return false;
  const u64 waited = clock.tsc.ticks() - received_ticks;
  // Counters of two cores may differ by a little: a packet from the future has not waited.
  return static_cast<i64>(waited) > 0 && clock.tsc.to_duration_ns(waited) > max_lag_ns_;
}

// Told before anything that waits: no decision is taken on a backlog that is lost anyway.
void InputRing::go_stale(InputSink& shard, ThreadClock& clock, u32 epoch) {
  overrun_seen_ = epoch;
  skipping_ = true;
  clock.tick();
  const journal::FeedStateChange stale{static_cast<u8>(journal::FeedState::kStale), kFeedOverrun, {}, 0, 0};
  shard.put(RecordType::kFeedState, {}, bytes_of(stale), {});
}

int InputRing::drain(InputSink& shard, ThreadClock& clock, int most) {
  if (const u32 epoch = overrun_.load(std::memory_order_acquire); epoch != level_) [[unlikely]] {
    level_ = epoch;
    if (epoch != overrun_seen_) go_stale(shard, clock, epoch);
  }
  RecordRing::Record r{};
  int n = 0;
  for (; n < most && ring_.ring.peek(r); ++n) {
    if (r.kind == kMark) {
      u32 epoch;
      std::memcpy(&epoch, r.payload.data(), 4);
      if (epoch == overrun_seen_) skipping_ = false;
    } else if (r.kind == kClosed) {
      shard.put_closed();
    } else if (skipping_) {
      ++skipped_;
    } else {
      Stamps stamps;
      std::memcpy(&stamps, r.payload.data(), sizeof stamps);
      if (stamps.received_ticks != packet_ticks_ && too_old(stamps.received_ticks, clock)) [[unlikely]] {
        // The epoch the feed stage will raise when it sees this; until its mark comes nothing is stepped.
        go_stale(shard, clock, level_ + 1);
        behind_.store(level_ + 1, std::memory_order_relaxed);
        ++skipped_;
        ring_.ring.consume();
        continue;
      }
      const RecordType type = static_cast<RecordType>(r.kind);
      const Bytes payload = r.payload.subspan(sizeof stamps);
      const std::size_t head = head_bytes(type);
      if (stamps.received_ticks != packet_ticks_ || stamps.received_ticks == 0) clock.tick();
      packet_ticks_ = stamps.received_ticks;
      shard.put(type, stamps, payload.first(head), payload.subspan(head));
    }
    ring_.ring.consume();
  }
  return n;
}

bool WireRing::send(const WireHead& head, Bytes wire) {
  u8* p = ring_.ring.try_reserve(sizeof head + wire.size());
  if (p == nullptr) {
    ++full_;
    return false;
  }
  std::memcpy(p, &head, sizeof head);
  std::memcpy(p + sizeof head, wire.data(), wire.size());
  ring_.ring.commit(kWire, sizeof head + wire.size());
  if (const u64 held = ring_.ring.capacity() - ring_.ring.free_bytes(); held > high_) high_ = held;
  return true;
}

bool WireRing::login(const LoginHead& head) {
  return ring_.ring.try_push(kLogin, Bytes(reinterpret_cast<const u8*>(&head), sizeof head));
}

int WireRing::drain(SessionDoor& session, const InputSink& back, int most) {
  RecordRing::Record r{};
  int n = 0;
  for (; n < most && back.room_bytes() >= kReportBytes && ring_.ring.peek(r); ++n) {
    if (r.kind == kWire) {
      WireHead head;
      std::memcpy(&head, r.payload.data(), sizeof head);
      session.send(head, r.payload.subspan(sizeof head));
      session.settle();
    } else if (r.kind == kLogin) {
      LoginHead head;
      std::memcpy(&head, r.payload.data(), sizeof head);
      session.login(head);
    } else {
      session.stop();
    }
    ring_.ring.consume();
  }
  return n;
}

}  // namespace peregrine::engine
