// A venue's day on disk: everything the exchange consumed, in order, each thing written before it acted.
//
// The exchange is deterministic, so these inputs are its whole state: after a kill -9 a new process reads them and is
// where the old one was. Each record is one write(2): what a killed process had written stays in the page cache. The
// file is not synced: a power cut may cost its end.
//
//   0       4      6      8        16       20            24         28     32
//   +-------+------+------+--------+--------+-------------+----------+------+-----------+
//   | bytes | kind | port | now_ns | number | payload_crc | head_crc | zero | payload … |
//   +-------+------+------+--------+--------+-------------+----------+------+-----------+
//
// bytes     of the whole record            payload_crc  CRC-32C of the payload
// number    1, 2, 3 …                      head_crc     CRC-32C of the 24 bytes before it
//
// The first record is a DayHeader. A record that the end of the file cuts short was never acted upon and is dropped;
// any other damage is refused, with its offset: a head of its own tells a short record from one whose length is wrong.
#pragma once

#include <string>
#include <vector>

#include "core/types.h"

namespace peregrine::venue {

enum class DayInput : u16 {
  kHeader = 1,        // DayHeader + five addresses, zero-terminated
  kStart = 2,         // start of messages
  kSession = 3,       // u8 SessionState
  kFlow = 4,          // the flow events due at now_ns, at most kFlowBatch
  kTimer = 5,         // orders whose time is over
  kOuch = 6,          // one order message of `port`
  kDisconnect = 7,    // the connection of `port` is gone
  kHalt = 8,          // u32 symbol, u8 state, u8 planned, reason text
  kBust = 9,          // u64 match, u8 reason
  kFlowFromNow = 10,  // the generator goes on from now_ns: what was missed is not made up for
  kSnapshot = 11,     // a snapshot was asked for: its stamp moves the wire's time
  kFlowRate = 12,     // u32 events a second and symbol, of the generator from now on
};

struct DayRecordHead {
  u32 bytes;
  u16 kind;
  u16 port;
  i64 now_ns;
  u32 number;
  u32 payload_crc;
  u32 head_crc;
  u32 zero;
};
static_assert(sizeof(DayRecordHead) == 32 && offsetof(DayRecordHead, head_crc) == 24);

// What a later process must know before it can make the same exchange.
struct DayHeader {
  u8 magic[8];      // "PRGDAY01"
  u64 fingerprint;  // of the configuration: another one would not replay
  i64 midnight_ns;
  char session[16];  // zero-padded
};
static_assert(sizeof(DayHeader) == 40);

inline constexpr u32 kMaxDayRecordBytes = 66 * 1024;  // a SoupBinTCP packet has at most 64 KiB

struct DayRecord {
  DayInput kind{};
  u16 port = 0;
  TimeNs now_ns = 0;
  Bytes payload;  // valid until the next call of next()
};

// Reads a day from its beginning, also one that is still being written: at the end next() says false, and may say true
// later. Throws std::system_error when the file cannot be read, std::runtime_error at damage.
class DayReader {
 public:
  explicit DayReader(const std::string& path);
  ~DayReader();
  DayReader(const DayReader&) = delete;
  DayReader& operator=(const DayReader&) = delete;

  bool next(DayRecord& out);
  u64 offset() const { return offset_; }    // behind the last whole record
  u32 records() const { return records_; }
  u64 torn_bytes() const { return buffer_.size() - at_; }  // after next() said false: of a record cut short

 private:
  bool fill();

  std::string path_;
  int fd_ = -1;
  std::vector<u8> buffer_;
  std::size_t at_ = 0;
  u64 read_ = 0;
  u64 offset_ = 0;
  u32 records_ = 0;
};

// Appends to a day; one process at a time. Throws std::system_error, also when the file is in use or the disk refuses.
class DayWriter {
 public:
  // Goes on behind `offset`, where `records` records end, and cuts off the `torn_bytes` seen behind it.
  DayWriter(const std::string& path, u64 offset, u64 torn_bytes, u32 records);
  ~DayWriter();
  DayWriter(const DayWriter&) = delete;
  DayWriter& operator=(const DayWriter&) = delete;

  void append(DayInput kind, u16 port, TimeNs now_ns, Bytes payload);
  u64 offset() const { return offset_; }

 private:
  std::string path_;
  int fd_ = -1;
  u64 offset_;
  u32 records_;
  std::vector<u8> record_;
};

}  // namespace peregrine::venue
