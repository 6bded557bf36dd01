#include "engine/feed_stage.h"

#include <arpa/inet.h>

#include "engine/session_stage.h"
#include "market/moldudp64.h"

namespace peregrine::engine {

namespace {

constexpr std::size_t kDatagramBytes = 2048;

const NetOps& net_of(const LiveConfig& c) { return c.net != nullptr ? *c.net : system_net_ops(); }

SessionPort snapshot_port(const LiveConfig& c) { return {c.glimpse, c.username, c.password}; }

}  // namespace

FeedStage::FeedStage(const LiveConfig& config, const std::vector<std::vector<std::string>>& symbols,
                     ThreadClock& clock, EngineControl& control)
    : config_(config),
      clock_(clock),
      control_(control),
      feed_(config.feed, *this),
      router_(symbols, config.topology == Topology::kPipelined ? config.hold_bytes : 0, config.feed.snapshot_timeout_ns,
              config.feed.snapshot_retry_ns, *this),
      lines_{UdpReceiver(kDatagramBytes, net_of(config)), UdpReceiver(kDatagramBytes, net_of(config))},
      requests_(kDatagramBytes, net_of(config)),
      snapshot_line_(*this, false),
      rebuild_line_(*this, true),
      snapshots_(soup_config(config, snapshot_port(config)), snapshot_line_),
      rebuilds_(soup_config(config, snapshot_port(config)), rebuild_line_) {}

std::string FeedStage::open() {
  const Endpoint* peers[2] = {&config_.itch_a, &config_.itch_b};
  for (int i = 0; i < config_.feed.lines; ++i) {
    const FeedEndpoint where{peers[i]->host, peers[i]->port, config_.interface_address};
    if (std::string error = lines_[i].open(where); !error.empty()) return error;
  }
  if (config_.retransmit.port != 0) {
    if (std::string error = requests_.open({config_.interface_address, 0, {}}); !error.empty()) return error;
    retransmit_to_.sin_family = AF_INET;
    retransmit_to_.sin_port = htons(config_.retransmit.port);
    inet_pton(AF_INET, config_.retransmit.host.c_str(), &retransmit_to_.sin_addr);
  }
  return {};
}

void FeedStage::request(u64 seq, u16 count) {
  if (config_.retransmit.port == 0) return;
  u8 packet[mold::kRequestBytes];
  mold::encode(mold::Request{feed_.session(), seq, count}, packet);
  requests_.send(retransmit_to_, Bytes(packet, sizeof packet));
}

void FeedStage::open_snapshot() {
  if (config_.glimpse.port == 0) return;
  snapshot_wanted_ = true;
  snapshots_.start();
}

void FeedStage::open_rebuild() {
  if (config_.glimpse.port == 0) return;
  rebuild_wanted_ = true;
  rebuilds_.start();
}

void FeedStage::close_rebuild() {
  rebuild_wanted_ = false;
  if (!in_rebuild_poll_) rebuilds_.stop(clock_.now_ns);
}

void FeedStage::SnapshotLine::on_connected() {
  (rebuild_ ? stage_.rebuilds_ : stage_.snapshots_).login(soup::blank_session(), 1, stage_.clock_.now_ns);
}

void FeedStage::SnapshotLine::on_packet(Bytes packet) {
  if (!rebuild_) {
    stage_.feed_.on_snapshot_packet(packet[0], packet.subspan(1), stage_.clock_.now_ns);
  } else if (stage_.rebuild_wanted_) {
    stage_.router_.on_rebuild_packet(packet[0], packet.subspan(1), stage_.clock_.now_ns);
  }
}

void FeedStage::SnapshotLine::on_lost(LostReason) {
  if (!rebuild_) {
    if (stage_.snapshot_wanted_) stage_.feed_.on_snapshot_closed(stage_.clock_.now_ns);
  } else if (stage_.rebuild_wanted_) {
    stage_.router_.on_rebuild_lost(stage_.clock_.now_ns);
  }
}

bool FeedStage::poll_line(u8 line) {
  if (!lines_[line].is_open()) return false;
  const int n = lines_[line].receive();
  if (n == 0) return false;
  // The whole batch was received now: what its later packets wait for the earlier ones counts as latency. One tick
  // more each tells the packets apart.
  const u64 received_ticks = clock_.tsc.ticks();
  for (int i = 0; i < n; ++i) {
    clock_.tick();
    router_.begin_packet(received_ticks + static_cast<u64>(i), clock_.now_ns);
    feed_.on_packet(line, lines_[line].at(i), clock_.now_ns);
  }
  return true;
}

bool FeedStage::poll_requests() {
  if (!requests_.is_open()) return false;
  const int n = requests_.receive();
  for (int i = 0; i < n; ++i) {
    clock_.tick();
    router_.begin_packet(0, clock_.now_ns);
    feed_.on_packet(kLineRetransmission, requests_.at(i), clock_.now_ns);
  }
  return n > 0;
}

bool FeedStage::poll_snapshots() {
  clock_.tick();
  router_.begin_packet(0, clock_.now_ns);
  bool busy = false;
  // A shard without room holds the snapshot back in TCP, for a while.
  const bool room = !snapshots_.connected() || router_.snapshot_room(clock_.now_ns);
  if (!room) ++snapshot_holds_;
  busy |= snapshots_.poll(clock_.now_ns, room ? SIZE_MAX : 0);
  if (!snapshot_wanted_ && snapshots_.connected()) snapshots_.stop(clock_.now_ns);
  if (rebuild_wanted_ || rebuilds_.connected()) {
    in_rebuild_poll_ = true;
    busy |= rebuilds_.poll(clock_.now_ns, router_.rebuild_room() ? SIZE_MAX : 0);
    in_rebuild_poll_ = false;
    if (!rebuild_wanted_) rebuilds_.stop(clock_.now_ns);
  }
  return busy;
}

bool FeedStage::poll() {
  clock_.tick();
  bool busy = poll_line(0);
  if (config_.feed.lines > 1) busy |= poll_line(1);
  busy |= poll_requests();
  busy |= poll_snapshots();
  clock_.tick();
  router_.begin_packet(0, clock_.now_ns);
  if (clock_.now_ns >= feed_.next_timer_ns()) {
    feed_.on_timer(clock_.now_ns);
    busy = true;
  }
  busy |= router_.poll(clock_.now_ns, feed_.next_seq());
  control_.feed_gaps.store(feed_.stats().gaps, std::memory_order_relaxed);
  control_.feed_requests.store(feed_.stats().requests, std::memory_order_relaxed);
  control_.feed_malformed.store(feed_.stats().malformed, std::memory_order_relaxed);
  return busy;
}

void FeedStage::stop() {
  clock_.tick();
  snapshot_wanted_ = rebuild_wanted_ = false;
  snapshots_.stop(clock_.now_ns);
  rebuilds_.stop(clock_.now_ns);
}

void FeedStage::fds(int out[kFds]) const {
  const int all[kFds] = {lines_[0].fd(), lines_[1].fd(), requests_.fd(), snapshots_.fd(), rebuilds_.fd()};
  for (int i = 0; i < kFds; ++i) out[i] = all[i];
}

void FeedStage::queues(std::vector<QueueUse>& out) const {
  const auto socket = [&out](const char* name, const UdpReceiver& r) {
    if (r.is_open()) out.push_back({name, static_cast<u64>(r.stats().receive_buffer_bytes), 0, r.stats().kernel_drops});
  };
  socket("line A socket", lines_[0]);
  socket("line B socket", lines_[1]);
  out.push_back({"feed window", config_.feed.window_messages, 0, feed_.stats().not_buffered, "messages"});
  out.push_back({"snapshot reads held", 0, 0, snapshot_holds_, "times"});
}

}  // namespace peregrine::engine
