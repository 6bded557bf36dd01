// Layout of a journal directory and of its segment files.
//
//   <dir>/journal-000001.pgj … closed segments, then at most one open one (the highest number)
//   <dir>/journal-000004.pgj.next   the next segment, allocated ahead; holds no records, may be deleted
//   <dir>/ring.path                 absolute path of the ring the last run appended to
//   <dir>/journal.lock              locked by the process that writes
//   <dir>/snapshot-<seq>.pgs        snapshot.h
//
//   segment = SegmentHeader, records (record.h), and when closed one kTrailer record that ends the file.
//   An open segment is followed by zeros (space allocated ahead) or by the end of the file.
//
// SegmentHeader
//   0        8        12          16       20           24          32                 64           72     124    128
//   +--------+--------+-----------+--------+------------+-----------+------------------+------------+------+------+
//   | magic  | format | semantics | number | generation | first_seq | previous_sha256  | journal_id | zero | crc  |
//   +--------+--------+-----------+--------+------------+-----------+------------------+------------+------+------+
#pragma once

#include <string>
#include <vector>

#include "journal/error.h"
#include "journal/record.h"

namespace peregrine::journal {

inline constexpr u8 kSegmentMagic[8] = {'P', 'G', 'J', 'S', 'E', 'G', '0', '1'};

struct SegmentHeader {
  u8 magic[8];
  u32 format_version;
  u32 semantics_version;
  u32 number;              // 1, 2, 3 … as in the file's name
  u32 generation;          // run that opened the segment
  u64 first_seq;           // sequence number of its first record
  u8 previous_sha256[32];  // SegmentTrailer.sha256 of the segment before; zeros in the first
  u64 journal_id;          // the same in every segment, ring and snapshot of one journal
  u8 zero[52];
  u32 crc32c;              // over bytes 0..123
};
static_assert(sizeof(SegmentHeader) == 128 && std::is_trivially_copyable_v<SegmentHeader>);
static_assert(offsetof(SegmentHeader, first_seq) == 24 && offsetof(SegmentHeader, previous_sha256) == 32);
static_assert(offsetof(SegmentHeader, journal_id) == 64 && offsetof(SegmentHeader, crc32c) == 124);

// Payload of the kTrailer record. Its record header has seq 0, the ts_ns of the last record, and the generation of
// the run that closed the segment.
//   0         8           16         24        56
//   +---------+-----------+----------+---------+
//   | records | first_seq | last_seq | sha256  |
//   +---------+-----------+----------+---------+
struct SegmentTrailer {
  u64 records;    // numbered records in the segment, 0 = none
  u64 first_seq;
  u64 last_seq;   // first_seq - 1 when there are none
  u8 sha256[32];  // over every byte of the file before the trailer record (so over the previous hash too)
};
static_assert(sizeof(SegmentTrailer) == 56 && offsetof(SegmentTrailer, sha256) == 24);

inline constexpr u32 kTrailerRecordBytes = sizeof(RecordHeader) + sizeof(SegmentTrailer);

// "journal-000012.pgj"
std::string segment_name(u32 number);
std::string segment_path(const std::string& dir, u32 number);
// Numbers of the segment files in `dir`, ascending; false when the directory cannot be read (absent = empty list, true).
bool list_segments(const std::string& dir, std::vector<u32>& numbers, JournalError& error);

SegmentHeader make_segment_header(u32 number, u32 generation, u64 first_seq, const u8 previous_sha256[32], u64 journal_id);
// Magic, version, CRC and that `number` agrees with the file's name.
bool check_segment_header(const SegmentHeader& h, u32 number, const std::string& file, JournalError& error);

// Bytes of a record with `payload` bytes: header + payload rounded up to 8.
constexpr u64 record_bytes(u64 payload) { return sizeof(RecordHeader) + ((payload + 7) & ~u64{7}); }
constexpr u64 payload_bytes(const RecordHeader& h) { return u64{h.length} - sizeof(RecordHeader) - h.pad; }
bool known_type(u16 type);
const char* type_name(u16 type);

// CRC of a whole record lying at `p`, as the crc field must hold it.
u32 record_crc(const u8* p, u32 length);
// Writes a whole record at `out` (record_bytes(payload.size()) bytes, zeros included); returns its length.
u32 write_record(u8* out, RecordType type, u64 seq, i64 ts_ns, u32 generation, Bytes payload);
// Length, padding and type are possible; says which is not. Does not look at the CRC.
Fault check_record_shape(const RecordHeader& h, u64 bytes_available);

}  // namespace peregrine::journal
