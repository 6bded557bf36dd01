// The journal record: what a shard consumed and what it was about to send, in one numbered sequence.
//
//   0          4      6      8          16         24           28        32
//   +----------+------+------+----------+----------+------------+---------+----------------+
//   | length   | type | pad  | seq      | ts_ns    | generation | crc32c  | payload … 0-pad |
//   +----------+------+------+----------+----------+------------+---------+----------------+
//
// length  bytes of the whole record, header and zero padding included; a multiple of 8
// pad     number of padding bytes at the end (0..7), so payload size = length - 32 - pad
// seq     1, 2, 3 … without a hole over the life of a journal
// ts_ns   the input's receive time; outputs carry the time of the input that caused them
// generation  the run (epoch) that wrote it; rises by one at each recovery
// crc32c  Castagnoli CRC over the record with this field as zero
// All integers little-endian.
#pragma once

#include <type_traits>

#include "core/types.h"

namespace peregrine::journal {

enum class RecordType : u16 {
  kPadding = 0,        // fills the end of the ring or a segment; no meaning, not numbered (seq 0)
  kHeader = 1,         // u32 json bytes, json (config, instruments, session date, artifact list), artifact bytes
  kTrailer = 2,        // SegmentTrailer (segment.h): closes a segment file, not numbered (seq 0)
  // Inputs: replaying these in order is replaying the run.
  kFeed = 16,          // FeedHead + one message block after A/B arbitration
  kSnapshot = 17,      // FeedHead + one snapshot message (GLIMPSE); FeedHead.feed_seq counts from 1
  kFeedState = 18,     // FeedStateChange
  kSession = 19,       // one whole order-session packet: type byte + payload (no length prefix)
  kSessionState = 20,  // SessionStateChange
  kCommand = 21,       // CommandHead + body + origin
  kTimer = 22,         // TimerDue
  kControl = 23,       // ControlSeen: kill word, heartbeat loss, lease change
  kDevice = 24,        // DeviceAnswer + logits: a device answer, or its absence at the deadline
  kSignal = 25,        // SignalValue: what a user's own signal returned
  kSendResult = 26,    // SendResult
  kRecovered = 27,     // Recovered
  kFeedRef = 28,       // FeedRef: a run of messages in a file known by hash
  // Outputs: a replay regenerates these and must find them equal.
  kIntent = 64,        // IntentHead + wire bytes: committed before it is sent
  kDecision = 65,      // DecisionHead + features + logits: why an intent (or a risk reject) came about
  kStateHash = 66,     // StateHash
};

constexpr bool is_input(RecordType t) { return static_cast<u16>(t) >= 16 && static_cast<u16>(t) < 64; }
constexpr bool is_output(RecordType t) { return static_cast<u16>(t) >= 64; }

struct RecordHeader {
  u32 length;
  u16 type;
  u16 pad;
  u64 seq;
  i64 ts_ns;
  u32 generation;
  u32 crc32c;
};
static_assert(sizeof(RecordHeader) == 32 && std::is_trivially_copyable_v<RecordHeader>);
static_assert(offsetof(RecordHeader, seq) == 8 && offsetof(RecordHeader, ts_ns) == 16);
static_assert(offsetof(RecordHeader, generation) == 24 && offsetof(RecordHeader, crc32c) == 28);

inline constexpr u32 kMaxRecordBytes = 64u << 20;

struct FeedHead {
  u64 feed_seq;
  u8 line;      // 0 = A, 1 = B, 2 = retransmission, 3 = snapshot, 4 = file
  u8 zero[7];
};
static_assert(sizeof(FeedHead) == 16);

enum class FeedState : u8 { kDown = 0, kRecovering = 1, kLive = 2, kGapped = 3, kStale = 4, kEnded = 5 };

struct FeedStateChange {
  u8 state;      // FeedState
  u8 reason;     // 0 start, 1 gap, 2 silence, 3 recovered, 4 end of session, 5 snapshot failed, 6 overrun of the shard
  u8 zero[6];
  u64 from_seq;  // first missing message, or 0
  u64 to_seq;    // one past the last missing message, or 0
};
static_assert(sizeof(FeedStateChange) == 24);

struct SessionStateChange {
  u8 up;      // 1 = TCP connection established, 0 = lost
  u8 reason;  // 0 by us, 1 closed by peer, 2 error, 3 silence, 4 login timeout
  u8 zero[2];
  u32 connection;  // counts connections of this run, from 1
};
static_assert(sizeof(SessionStateChange) == 8);

enum class CommandKind : u16 {
  kLimits = 1,      // body: RiskLimits of one scope
  kWeights = 2,     // body: consensus weights
  kBankSwap = 3,    // body: which policy slot takes its staged bank
  kPause = 4,
  kResume = 5,
  kDrain = 6,       // no new orders, cancel all, report
  kKill = 7,
  kFlatten = 8,     // reduce-only orders until flat
  kLeaseGrant = 9,
  kLeaseReturn = 10,
  kPauseSymbol = 11,   // body: u32 instrument; its orders are cancelled
  kResumeSymbol = 12,  // body: u32 instrument
  kRevive = 13,        // lifts a kill; refused by the engine while the kill word stands
  kReduceOnly = 14,    // body: u32, 1 = only reducing orders pass, 0 = lifted
  kRearm = 15,         // body: u32 bits of breakers to arm again
  kActiveSymbols = 16, // body: u32, how many instruments may open orders, in the configuration's order
  kMove = 17,          // body: u32, the thread that runs the shard from now on; nothing changes in the shard
  kNote = 18,          // body: text for whoever reads the journal; nothing changes
};

// Body of kPause and kResume: none, or u32 bits of these.
inline constexpr u32 kPauseCancels = 1;   // what works is cancelled too
inline constexpr u32 kResumeDrained = 1;  // a drain is lifted too
inline constexpr u32 kResumeHeld = 2;     // the pause alone is lifted: what a person set besides, such as reduce-only, stays

// The body and the origin follow the head. The origin says who gave the command, why and when, as a MessagePack map; a
// shard does not look at it.
struct CommandHead {
  u64 idempotency_key;  // 0 = none; a key seen before is ignored
  u16 kind;             // CommandKind
  u16 origin_bytes;     // 0 = nobody said
  u32 body_bytes;
};
static_assert(sizeof(CommandHead) == 16);

struct TimerDue {
  u32 timer;
  u32 zero;
  i64 due_ns;
};
static_assert(sizeof(TimerDue) == 16);

enum class ControlKind : u8 { kKillWord = 1, kSupervisorLost = 2, kLeaseChange = 3, kJournalUnhealthy = 4, kJournalHealthy = 5, kSupervisorBack = 6 };

struct ControlSeen {
  u8 kind;  // ControlKind
  u8 zero[7];
  u64 value;
};
static_assert(sizeof(ControlSeen) == 16);

struct SignalValue {
  u64 decision;  // number of the decision that asked
  i32 value;
  u8 status;     // 0 good, 1 the signal raised: hold
  u8 zero[3];
};
static_assert(sizeof(SignalValue) == 16);

// Where a decision's logits came from when a device was to give them. Slots of `answered` bring theirs; the engine's own
// kernels make up for the others, with the same bits.
enum class DeviceOutcome : u8 {
  kAnswered = 0,     // every active slot, in time
  kLate = 1,         // the deadline passed
  kCorrupt = 2,      // the completion's CRC-32 or action contradicts what it says
  kRefused = 3,      // the device answered with a status other than ok
  kBusy = 4,         // could not be submitted: as much as fits is in flight
  kBreakerOpen = 5,  // not asked: it failed too often just now
  kLoading = 6,      // not asked: its banks do not hold these policies yet
  kNoDevice = 7,     // not asked: there is none, or it cannot hold such policies
  kBroken = 8,       // the driver cannot reach it any more
};

struct DeviceAnswer {
  u64 decision;        // number of the decision that asked
  u64 policy_version;  // of the set that answered, 0 = none did
  u32 cycles;          // core cycles, the most of any slot
  u8 outcome;          // DeviceOutcome
  u8 answered;         // bit p: logits of slot p follow, int32 each, slot after slot
  u8 n_actions;        // logits a slot
  u8 attempts;         // submissions it took, over all slots
};
static_assert(sizeof(DeviceAnswer) == 24);

struct SendResult {
  u64 last_intent_seq;  // journal seq of the last intent in the bytes handed over
  u32 bytes_asked;
  i32 result;           // bytes taken, or -errno (would block = -11)
};
static_assert(sizeof(SendResult) == 16);

struct Recovered {
  u32 epoch;
  u32 last_user_ref_num;  // highest order number that may have been used: among journaled intents, or above (recover.h)
  u64 last_intent_seq;
  u64 venue_seq;          // last order-session sequence number consumed
};
static_assert(sizeof(Recovered) == 24);

struct FeedRef {
  u8 sha256[32];
  u64 first_message;
  u64 messages;
};
static_assert(sizeof(FeedRef) == 48);

enum class IntentKind : u8 { kEnter = 1, kReplace = 2, kCancel = 3, kMassCancel = 4, kAccountQuery = 5 };

struct IntentHead {
  u8 kind;           // IntentKind
  u8 side;
  u8 action;         // consensus action that asked for it (0xFF = not a policy's)
  u8 tif;
  u32 user_ref_num;
  u32 orig_ref_num;  // replace and cancel: the order acted on
  u32 instrument;
  i64 price_ticks;
  i64 qty_lots;
  u64 decision;        // number of the decision that caused it, 0 = none
  u64 policy_version;  // first 8 bytes of the artifact's hash of the deciding policy set
};
static_assert(sizeof(IntentHead) == 48);

// With instrument 0xFFFFFFFF no decision, but a breaker of the shard (risk/breakers.h): `decision` is its bit; risk_reason
// kBreaker: it tripped, on risk_observed against risk_limit; kPass: it was armed again.
struct DecisionHead {
  u64 decision;
  u64 feed_seq;
  u64 policy_version;
  u32 instrument;
  u8 action;
  u8 risk_reason;  // 0 = passed
  u8 n_features;   // int32 each, follow this head
  u8 n_logits;     // int32 each, follow the features (all policies one after the other)
  i64 risk_observed;
  i64 risk_limit;
};
static_assert(sizeof(DecisionHead) == 48);

struct StateHash {
  u64 after_input_seq;
  u64 state_hash;
  u64 order_hash;  // over all intent wire bytes so far
};
static_assert(sizeof(StateHash) == 24);

}  // namespace peregrine::journal
