// Journals of any bytes. The input describes up to three segments (records to build, or raw bytes), then damage, then
// which checksums to make right again, so that what lies behind them is reached. An obvious walk over the same bytes
// says how many records there are: the reader must agree, or refuse with a place. What recovery accepts is readable
// afterwards, with every record that was whole before.
#include "core/crc32c.h"
#include "core/sha256.h"
#include "journal/recover.h"
#include "journal/snapshot.h"
#include "journal/version.h"
#include "scratch.h"

using namespace peregrine;
using namespace peregrine::journal;

namespace {

constexpr u64 kId = 0x1122334455667788;
using Buffer = std::vector<u8>;

void sha256(const u8* p, std::size_t n, u8* out) { std::memcpy(out, Sha256::of(p, n).bytes, 32); }

enum Flags : u8 { kBuild = 1, kFixHeader = 2, kFixRecords = 4, kFixChain = 8, kRecover = 16, kCutDamage = 32, kBlank = 64 };

void build(fuzz::Input& in, Buffer& out, u32 number, u64& seq, u32& generation, u8* chain) {
  const SegmentHeader h = make_segment_header(number, generation, seq, chain, kId);
  const u8* p = reinterpret_cast<const u8*>(&h);
  out.assign(p, p + sizeof h);
  const u8 shape = in.byte();
  const u64 first = seq;
  i64 ts = 1'577'716'200'000'000'000;
  for (int k = shape & 15; k > 0 && !in.done(); --k) {
    static constexpr RecordType kTypes[] = {RecordType::kFeed, RecordType::kIntent, RecordType::kSession, RecordType::kTimer,
                                            RecordType::kHeader, RecordType::kRecovered, RecordType::kStateHash,
                                            RecordType::kPadding};
    const u8 what = in.byte();
    if (what & 8) ++generation;
    const RecordType type = kTypes[what & 7];
    const Bytes payload = in.take(what >> 4 << 2 | (what & 3));
    const std::size_t at = out.size();
    out.resize(at + record_bytes(payload.size()));
    write_record(&out[at], type, type == RecordType::kPadding ? 0 : seq++, ts += what, generation, payload);
  }
  if (!(shape & 16)) {
    SegmentTrailer t{seq - first, first, seq - 1, {}};
    sha256(out.data(), out.size(), t.sha256);
    std::memcpy(chain, t.sha256, 32);
    const std::size_t at = out.size();
    out.resize(at + kTrailerRecordBytes);
    write_record(&out[at], RecordType::kTrailer, 0, ts, generation, Bytes(reinterpret_cast<const u8*>(&t), sizeof t));
  } else {
    out.resize(out.size() + (shape >> 5) * 24u);
  }
}

// Where records are (or claim to be) in a segment.
template <class F>
void each_record(Buffer& b, F&& f) {
  for (std::size_t at = sizeof(SegmentHeader); at + sizeof(RecordHeader) <= b.size();) {
    const u32 length = load_le<u32>(&b[at]);
    if (length < sizeof(RecordHeader) || length % 8 != 0 || length > b.size() - at) return;
    if (!f(&b[at], at, length)) return;
    at += length;
  }
}

void repair(Buffer& b, u32 number, u8 flags, u8* chain) {
  if (b.size() < sizeof(SegmentHeader)) return;
  if (flags & kFixChain) std::memcpy(&b[offsetof(SegmentHeader, previous_sha256)], chain, 32);
  if (flags & kFixHeader) {
    std::memcpy(b.data(), kSegmentMagic, 8);
    store_le(&b[offsetof(SegmentHeader, number)], number);
    store_le(&b[offsetof(SegmentHeader, crc32c)], crc32c(0, b.data(), offsetof(SegmentHeader, crc32c)));
  }
  if (!(flags & kFixRecords)) return;
  each_record(b, [&](u8* p, std::size_t at, u32 length) {
    const bool trailer = load_le<u16>(p + 4) == 2 && length == kTrailerRecordBytes;
    if (trailer && flags & kFixChain) {
      sha256(b.data(), at, chain);
      std::memcpy(p + sizeof(RecordHeader) + offsetof(SegmentTrailer, sha256), chain, 32);
    }
    store_le(p + offsetof(RecordHeader, crc32c), record_crc(p, length));
    return !trailer;
  });
}

// How many numbered records stand one after the other from the journal's start.
u64 walk(std::vector<Buffer>& segments) {
  u64 count = 0;
  for (Buffer& b : segments) {
    if (b.size() < sizeof(SegmentHeader)) return count;
    bool closed = false;
    each_record(b, [&](u8* p, std::size_t, u32 length) {
      RecordHeader h;
      std::memcpy(&h, p, sizeof h);
      if (h.crc32c != record_crc(p, length) || !known_type(h.type)) return false;
      if (h.pad > 7 || h.pad > length - sizeof h) return false;  // a sum made right again over padding that cannot be
      closed = h.type == static_cast<u16>(RecordType::kTrailer);
      if (closed) return false;
      if (h.type == static_cast<u16>(RecordType::kPadding)) return h.seq == 0;
      if (h.seq != load_le<u64>(&b[offsetof(SegmentHeader, first_seq)]) + count && h.seq != count + 1) return false;
      ++count;
      return true;
    });
    if (!closed) return count;
  }
  return count;
}

bool read(const std::string& dir, JournalSummary& s) {
  JournalError e;
  const bool good = summarize(dir, {}, s, e);
  if (std::getenv("PEREGRINE_FUZZ_SAY") != nullptr) std::fprintf(stderr, "%s\n", good ? "readable" : e.text().c_str());
  FUZZ_CHECK(good == e.good());
  if (!good) FUZZ_CHECK(!e.file.empty() && !e.text().empty() && !e.found.empty());
  return good;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  fuzz::Input in(data, size);
  const u8 flags = in.byte();
  const u32 n = 1 + in.byte() % 3;
  std::vector<Buffer> segments(n);
  u64 seq = 1;
  u32 generation = 1;
  u8 chain[32] = {};
  for (u32 i = 0; i < n; ++i) {
    if (flags & kBuild) {
      build(in, segments[i], i + 1, seq, generation, chain);
    } else {
      const Bytes raw = in.take(in.u16be() & 1023);
      segments[i].assign(raw.begin(), raw.end());
    }
  }
  for (int k = in.byte() & 7; k > 0 && !in.done(); --k) {
    Buffer& b = segments[in.byte() % n];
    const std::size_t at = in.u16be();
    const u8 how = in.byte();
    if (b.empty()) continue;
    if (how == 0) b.resize(at % b.size());
    if (how != 0) b[at % b.size()] ^= how;
  }
  std::memset(chain, 0, sizeof chain);
  for (u32 i = 0; i < n; ++i) repair(segments[i], i + 1, flags, chain);
  if (flags & kBlank) segments.back().clear();

  const std::string& dir = fuzz::scratch();
  fuzz::empty_folder(dir);
  for (u32 i = 0; i < n; ++i) fuzz::spill(segment_path(dir, i + 1), segments[i]);
  JournalSummary before{}, again{}, after{};
  const bool good = read(dir, before);
  FUZZ_CHECK(read(dir, again) == good && again.records == before.records && again.last_seq == before.last_seq);
  FUZZ_CHECK(before.records <= walk(segments));
  if (good) FUZZ_CHECK(before.records == walk(segments));
  if (!(flags & kRecover)) return 0;
  RecoverOptions options;
  options.dir = dir;
  options.ring_name = "r";
  options.ring_dir = dir;
  options.cut_damaged_tail = (flags & kCutDamage) != 0;
  RecoverResult result;
  JournalError error;
  if (!recover(options, result, error)) {
    FUZZ_CHECK(!error.good() && !error.text().empty());
    return 0;
  }
  FUZZ_CHECK(read(dir, after));
  FUZZ_CHECK(after.records == (result.fresh ? 0 : result.last_seq_before + 1));
  if (good) FUZZ_CHECK(result.last_seq_before == before.records);
  return 0;
}
