#include "venue/lines.h"

#include <algorithm>

namespace peregrine::venue {

FeedLines::FeedLines(const mold::Session& session, const LineFaults (&faults)[kLines], u64 seed,
                     std::size_t datagram_bytes, i64 heartbeat_ns, DatagramSink* sink)
    : session_(session),
      buffer_(std::clamp<std::size_t>(datagram_bytes, 128, mold::kMaxDatagramBytes)),
      answer_(buffer_.size()),
      builder_(buffer_.data(), buffer_.size()),
      heartbeat_ns_(heartbeat_ns),
      sink_(sink) {
  for (int i = 0; i < kLines; ++i) {
    lines_.push_back({faults[i], Rng(seed * 3 + static_cast<u64>(i) + 0x11E5), {}, {}, {}});
  }
  builder_.start(session_, 1);
}

void FeedLines::message(u64 seq, Bytes message, TimeNs now_ns) {
  if (!builder_.add(message)) {
    flush(now_ns);
    builder_.add(message);
  }
  next_seq_ = seq + 1;
}

void FeedLines::flush(TimeNs now_ns) {
  if (builder_.empty()) return;
  const Bytes packet = builder_.finish();
  send(kLineA, packet, now_ns);
  send(kLineB, packet, now_ns);
  last_sent_ns_ = now_ns;
  builder_.start(session_, next_seq_);
}

void FeedLines::on_timer(TimeNs now_ns) {
  for (int i = 0; i < 2; ++i) {
    auto& delayed = lines_[static_cast<std::size_t>(i)].delayed;
    while (!delayed.empty() && delayed.begin()->first <= now_ns) {
      emit(i, delayed.begin()->second);
      delayed.erase(delayed.begin());
    }
  }
  if (builder_.empty() && now_ns - last_sent_ns_ >= heartbeat_ns_) {
    const Bytes heartbeat = builder_.finish();
    send(kLineA, heartbeat, now_ns);
    send(kLineB, heartbeat, now_ns);
    last_sent_ns_ = now_ns;
    builder_.start(session_, next_seq_);
  }
}

TimeNs FeedLines::next_ns() const {
  TimeNs next = last_sent_ns_ + heartbeat_ns_;
  for (const Line& l : lines_) {
    if (!l.delayed.empty()) next = std::min(next, l.delayed.begin()->first);
  }
  return next;
}

void FeedLines::send(int index, Bytes packet, TimeNs now_ns) {
  Line& line = lines_[static_cast<std::size_t>(index)];
  if (roll(line, line.faults.loss_ppm)) {
    ++line.stats.lost;
    return;
  }
  std::vector<u8> copy(packet.begin(), packet.end());
  if (roll(line, line.faults.corrupt_ppm)) {
    ++line.stats.corrupted;
    // Only damage a receiver can see (a real datagram's checksum would see any): framing bits, or a cut tail.
    const u64 where = line.rng.below(14);
    if (where < 12) {
      copy[where < 10 ? where : where + 8] ^= static_cast<u8>(1u << line.rng.below(8));
    } else {
      copy.resize(line.rng.below(copy.size()));
    }
  }
  if (roll(line, line.faults.delay_ppm)) {
    ++line.stats.delayed;
    line.delayed.emplace(now_ns + line.faults.delay_ns, std::move(copy));
    return;
  }
  if (line.held.empty() && roll(line, line.faults.reorder_ppm)) {
    ++line.stats.reordered;
    line.held = std::move(copy);
    return;
  }
  emit(index, copy);
  if (roll(line, line.faults.dup_ppm)) {
    ++line.stats.duplicated;
    emit(index, copy);
  }
  if (!line.held.empty()) {
    emit(index, line.held);
    line.held.clear();
  }
}

void FeedLines::emit(int line, Bytes packet) {
  ++lines_[static_cast<std::size_t>(line)].stats.packets;
  sink_->datagram(line, packet);
}

void FeedLines::resume(u64 next_seq) {
  next_seq_ = next_seq;
  builder_.start(session_, next_seq_);
}

void FeedLines::end_of_session(u64 next_seq) {
  u8 packet[mold::kHeaderBytes];
  mold::encode(mold::Header{session_, next_seq, mold::kEndOfSession}, packet);
  emit(kLineA, packet);
  emit(kLineB, packet);
}

bool FeedLines::retransmit(Bytes bytes, const MessageStore& store) {
  mold::Request request;
  if (!mold::decode(bytes, request) || request.session != session_ || request.seq == 0 || request.count == 0 ||
      request.seq > store.size()) {
    return false;
  }
  mold::PacketBuilder answer(answer_.data(), answer_.size());
  answer.start(session_, request.seq);
  const u64 last = std::min<u64>(store.size(), request.seq + request.count - 1);
  for (u64 seq = request.seq; seq <= last && answer.add(store.at(seq)); ++seq) {
  }
  send(kRetransmit, answer.finish(), 0);
  return true;
}

}  // namespace peregrine::venue
