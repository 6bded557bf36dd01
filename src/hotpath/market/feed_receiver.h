// The receiving end of a MoldUDP64 feed as a state machine without sockets or clock: packets and times in, calls on a
// FeedSink out. It arbitrates lines A and B, keeps what arrives past a hole, asks again for the hole, and when that
// fails declares the feed stale and joins again by snapshot (GLIMPSE over SoupBinTCP).
//
//   kDown ── first packet ──▶ kRecovering (late join) ──▶ kLive ◀──▶ kGapped (hole declared, asking again)
//     ▲                                                     │            │ retries used up
//     └──────────────── silence on every line ──────────────┘            ▼
//   kEnded ◀── end of session, everything delivered        kStale ── snapshot read to 'G' ──▶ kLive
//
// What the sink can rely on: on_block's sequence rises by one from call to call, except right after a snapshot
// (next = the number in 'G') or, where there is no snapshot service, right after on_state(kStale) named the hole.
#pragma once

#include <span>

#include "core/types.h"
#include "journal/record.h"
#include "market/huge_array.h"
#include "market/moldudp64.h"

namespace peregrine {

inline constexpr u8 kLineA = 0;
inline constexpr u8 kLineB = 1;
inline constexpr u8 kLineRetransmission = 2;

// Reasons in FeedStateChange.
inline constexpr u8 kFeedStart = 0;
inline constexpr u8 kFeedGap = 1;
inline constexpr u8 kFeedSilence = 2;
inline constexpr u8 kFeedRecovered = 3;
inline constexpr u8 kFeedEndOfSession = 4;
inline constexpr u8 kFeedSnapshotFailed = 5;
inline constexpr u8 kFeedOverrun = 6;  // of one shard, by the stage that feeds it; a FeedReceiver never says so

// The message that ends a snapshot, 'G': false when it is damaged, else the next live sequence.
bool decode_snapshot_end(Bytes msg, u64& next);

class FeedSink {
 public:
  virtual ~FeedSink() = default;
  virtual void on_block(u64 seq, u8 line, Bytes msg) = 0;
  // A datagram's messages, before the first of them is handed on: a chance to start their cache misses.
  virtual void on_ahead(std::span<const Bytes> messages) { (void)messages; }
  // Message n of the snapshot, counted from 1 at each attempt; the last one is 'G' (20 digits: next live sequence).
  virtual void on_snapshot_block(u64 n, Bytes msg) = 0;
  virtual void on_state(const journal::FeedStateChange& change) = 0;
  virtual void request(u64 seq, u16 count) = 0;  // send a re-request packet
  virtual void open_snapshot() = 0;              // connect and log in to the snapshot service
  virtual void close_snapshot() = 0;
};

struct FeedReceiverConfig {
  enum class Join : u8 {
    kFromFirst,  // everything from sequence 1, by re-request
    kSnapshot,   // snapshot first, whatever the sequence (unless the first packet is sequence 1)
    kHere,       // start at the first packet seen; the feed is stale until a snapshot, for looking at only
  };
  Join join = Join::kSnapshot;
  u8 lines = 2;                             // 1 = only A
  bool snapshot_service = true;             // false: an unrecoverable hole is reported and skipped, the feed stays stale
  bool request_service = true;
  u32 window_messages = 1u << 16;           // kept past a hole; rounded up to a power of two
  u32 slot_bytes = 64;                      // 3 of them for length and line; longer messages are asked for again
  u16 max_request_messages = 1024;
  u32 request_retries = 5;                  // without progress
  u32 snapshot_retries = 0;                 // 0 = for ever
  u64 max_jump_messages = 1ull << 26;       // a packet further ahead is believed only when the next ones agree
  TimeNs arbitration_wait_ns = 2'000'000;   // how long the slower line may take before a hole is declared
  TimeNs request_timeout_ns = 100'000'000;
  TimeNs silence_timeout_ns = 3'000'000'000;
  TimeNs snapshot_timeout_ns = 10'000'000'000;  // without any packet from the snapshot service
  TimeNs snapshot_retry_ns = 1'000'000'000;
  mold::Session session{};                  // all zero = take the first packet's, once a second one agrees
};

class FeedReceiver {
 public:
  struct Stats {
    u64 packets[3] = {};    // by line
    u64 malformed = 0;      // packets dropped whole
    u64 foreign = 0;        // packets of another session
    u64 implausible = 0;    // sequence too far ahead
    u64 delivered = 0;      // live messages handed to the sink
    u64 duplicates = 0;     // messages seen before
    u64 buffered = 0;       // messages kept past a hole
    u64 not_buffered = 0;   // … that found no room
    u64 gaps = 0;           // holes declared
    u64 lost = 0;           // messages given up (a snapshot replaces them)
    u64 requests = 0;
    u64 snapshots = 0;      // attempts
    u64 snapshot_failures = 0;
    u64 silences = 0;
  };

  FeedReceiver(const FeedReceiverConfig& config, FeedSink& sink);

  void start(TimeNs now);  // silence is counted from here
  void on_packet(u8 line, Bytes packet, TimeNs now);
  // One SoupBinTCP packet of the snapshot connection: its type byte and what follows it.
  void on_snapshot_packet(u8 type, Bytes payload, TimeNs now);
  void on_snapshot_closed(TimeNs now);
  void on_timer(TimeNs now);
  void resync(TimeNs now);  // throws the books away and joins by snapshot: asked for from outside

  // kDown while every line is silent.
  journal::FeedState state() const { return silent_ ? journal::FeedState::kDown : state_; }
  const mold::Session& session() const { return session_; }
  u64 next_seq() const { return expected_; }     // next live message to deliver, 0 before the first packet
  u64 highest_seq() const { return highest_; }   // one past the highest sequence heard of
  bool snapshot_open() const { return snapshot_ != Snapshot::kClosed; }
  bool line_silent(u8 line, TimeNs now) const;
  TimeNs next_timer_ns() const;                  // when on_timer has something to do at the latest
  const Stats& stats() const { return stats_; }
  u64 state_hash() const;

 private:
  using State = journal::FeedState;
  enum class Snapshot : u8 { kClosed, kWaiting, kOpen };  // kWaiting: closed, another attempt is due
  static constexpr TimeNs kNever = INT64_MAX;
  static constexpr u32 kSlotHead = 3;  // u16 length, u8 line

  bool ours(u8 line, const mold::Header& h);
  void begin_anew(const mold::Session& session);
  bool plausible(const mold::Header& h);
  void join(const mold::Header& h, TimeNs now);
  void take_blocks(u8 line, Bytes packet, const mold::Header& h);
  void keep(u64 seq, u8 line, Bytes msg);
  void drain();
  bool settle_once(TimeNs now);  // true when the hole was skipped and there may be another
  void settle(TimeNs now) {
    while (settle_once(now)) {
    }
  }
  void declare_gap();
  void send_request(TimeNs now);
  bool give_up(TimeNs now);
  void begin_snapshot(State s, u8 reason, u64 from, u64 to, TimeNs now);
  void fail_snapshot(TimeNs now);
  void finish_snapshot(u64 next, TimeNs now);
  void set_state(State s, u8 reason, u64 from, u64 to);
  void emit(State s, u8 reason, u64 from, u64 to);
  bool hole() const { return !snapshot_needed_ && expected_ != 0 && highest_ > expected_; }
  u64 hole_end(u64 limit) const;
  bool both_lines_past() const;
  bool kept(u64 seq) const { return window_seq_[seq & window_mask_] == seq; }
  u8* slot(u64 seq) { return &window_[(seq & window_mask_) * config_.slot_bytes]; }

  FeedReceiverConfig config_;
  FeedSink& sink_;
  mold::Session session_{};
  bool session_known_ = false;
  bool session_proven_ = false;   // configured, or two packets had it
  bool books_foreign_ = false;    // what was delivered was of a session that turned out not to be this one
  mold::Session other_session_{};  // of the last packet that was not of the session, before that was proven
  State state_ = State::kDown;  // apart from silence
  Snapshot snapshot_ = Snapshot::kClosed;
  bool silent_ = false;           // shown as kDown, whatever state_ says
  bool snapshot_needed_ = false;  // live messages are kept, not delivered
  bool books_lost_ = false;       // a hole was skipped: not live again without a snapshot
  bool declared_ = false;         // the hole at expected_ has been declared
  bool joining_ = false;          // the hole at expected_ is the day before we came
  bool answered_ = false;         // a retransmission moved expected_ since the last request
  u64 expected_ = 0;
  u64 highest_ = 0;
  u64 end_seq_ = 0;  // sequence of the end-of-session packet, 0 = not seen
  u64 hole_at_ = 0;  // where the hole was when last looked at
  u64 asked_to_ = 0;
  u64 line_next_[2] = {};
  TimeNs line_heard_ns_[2] = {};
  u64 suspect_next_ = 0;
  u32 suspect_count_ = 0;
  u32 tries_ = 0;  // requests since the last progress
  u32 snapshot_attempts_ = 0;
  u64 snapshot_n_ = 0;
  u64 snapshot_base_ = 0;
  TimeNs heard_ns_ = 0;
  TimeNs hole_since_ns_ = kNever;
  TimeNs request_due_ns_ = kNever;
  TimeNs snapshot_due_ns_ = kNever;
  u64 window_mask_;
  HugeArray<u8> window_;
  HugeArray<u64> window_seq_;  // sequence a slot holds, 0 = none
  Stats stats_;
};

}  // namespace peregrine
