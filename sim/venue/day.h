// One day of the venue as a function of its inputs: the exchange and its background flow, without sockets or clock.
//
// Live, each input is written to the day's file (day_file.h) and then applied; a restart applies the same inputs again.
// There is one function for both.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "venue/day_file.h"
#include "venue/exchange.h"
#include "venue/flow.h"

namespace peregrine::venue {

inline constexpr int kFlowBatch = 256;  // flow events between two looks at the sockets

struct DayConfig {
  ExchangeConfig exchange;
  FlowParams flow;
  std::string recording;  // ITCH file to replay in place of the generator
  u32 recording_speed_percent = 100;
};

class Day {
 public:
  // Throws std::system_error when the recording cannot be read.
  Day(const DayConfig& config, ExchangeSink* sink);

  // Does one input. Returns the flow events done, or 1 when the input had an effect.
  u64 apply(DayInput kind, u16 port, TimeNs now_ns, Bytes payload);

  Exchange& exchange() { return exchange_; }
  const Exchange& exchange() const { return exchange_; }
  TimeNs flow_next_ns() const { return recorded_ != nullptr ? recorded_->next_ns() : flow_.next_ns(); }
  bool generated() const { return recorded_ == nullptr; }
  TimeNs started_ns() const { return started_ns_; }
  TimeNs last_ns() const { return last_ns_; }
  u64 planned_halts() const { return planned_halts_; }  // applied so far
  // Of everything that makes this day's inputs mean what they mean.
  u64 fingerprint() const { return fingerprint_; }

 private:
  void set_session_state(SessionState state, TimeNs now_ns);
  u64 run_flow(TimeNs now_ns);

  DayConfig config_;
  Exchange exchange_;
  Flow flow_;
  std::vector<u8> recording_;
  std::unique_ptr<RecordedFlow> recorded_;
  TimeNs started_ns_ = 0;
  TimeNs last_ns_ = 0;
  u64 planned_halts_ = 0;
  u64 fingerprint_ = 0;
};

// Payloads of kHalt and kBust.
std::vector<u8> halt_payload(u32 symbol, u8 state, bool planned, const std::string& reason);
std::vector<u8> bust_payload(u64 match, u8 reason);

// The header's payload, written and read.
struct DayOpening {
  u64 fingerprint = 0;
  TimeNs midnight_ns = 0;
  std::string session;
  std::string addresses[5];  // ouch, glimpse, retransmit, itch_a, itch_b
};
std::vector<u8> encode_opening(const DayOpening& opening);
// Throws std::runtime_error when it is not one.
DayOpening decode_opening(const DayRecord& record);

// A day that another process writes, followed from its file: the judge's view of a venue it does not run.
class DayFollower final : private ExchangeSink {
 public:
  // `config` as the venue's; session and midnight are the file's. Throws what DayReader throws, and
  // std::runtime_error when the configuration is not that day's.
  DayFollower(DayConfig config, const std::string& path);
  // Applies what is new (at most `limit` records); how many there were.
  u64 catch_up(u64 limit = ~u64{0});
  const Day& day() const { return *day_; }
  const DayReader& reader() const { return reader_; }
  const DayOpening& opening() const { return opening_; }

 private:
  void ouch(PortIx, u64, Bytes) override {}
  void itch(u64, u16, Bytes) override {}

  DayReader reader_;
  DayOpening opening_;
  std::unique_ptr<Day> day_;
};

}  // namespace peregrine::venue
