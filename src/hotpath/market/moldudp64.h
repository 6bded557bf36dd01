// MoldUDP64 1.00: numbered message blocks in datagrams, and the re-request packet.
//
//   0            10           18       20
//   +------------+------------+--------+-------------------------------------+
//   | session    | sequence   | count  | count x { u16 length, bytes }       |   downstream
//   +------------+------------+--------+-------------------------------------+
//   | session    | sequence   | count  |                                         request (20 bytes)
//   +------------+------------+--------+
//
// sequence numbers the first block; count 0 = heartbeat (sequence = next expected), 0xFFFF = end of session.
#pragma once

#include <array>
#include <string_view>

#include "core/bytes.h"
#include "core/types.h"

namespace peregrine::mold {

inline constexpr std::size_t kHeaderBytes = 20;
inline constexpr std::size_t kRequestBytes = 20;
inline constexpr std::size_t kMaxPayloadBytes = 1472;  // one unfragmented Ethernet datagram
inline constexpr std::size_t kMaxDatagramBytes = 65507;
inline constexpr u16 kHeartbeat = 0;
inline constexpr u16 kEndOfSession = 0xFFFF;

using Session = std::array<char, 10>;

// Left-justified, padded with spaces.
inline Session make_session(std::string_view s) {
  Session out;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = i < s.size() ? s[i] : ' ';
  return out;
}

struct Header {
  Session session{};
  u64 seq = 0;
  u16 count = 0;

  bool heartbeat() const { return count == kHeartbeat; }
  bool end_of_session() const { return count == kEndOfSession; }
  u16 blocks() const { return end_of_session() ? 0 : count; }
  u64 next_seq() const { return seq + blocks(); }
};

inline void encode(const Header& h, u8* out) {
  std::memcpy(out, h.session.data(), 10);
  store_be64(out + 10, h.seq);
  store_be16(out + 18, h.count);
}

inline bool decode(Bytes packet, Header& h) {
  if (packet.size() < kHeaderBytes) return false;
  std::memcpy(h.session.data(), packet.data(), 10);
  h.seq = load_be64(packet.data() + 10);
  h.count = load_be16(packet.data() + 18);
  return true;
}

// A request has the header's layout: the first sequence wanted and how many.
struct Request {
  Session session{};
  u64 seq = 0;
  u16 count = 0;
};

inline void encode(const Request& r, u8* out) { encode(Header{r.session, r.seq, r.count}, out); }

// Requests are exactly 20 bytes, so that a stray downstream packet is not taken for one.
inline bool decode(Bytes packet, Request& r) {
  if (packet.size() != kRequestBytes) return false;
  Header h;
  decode(packet, h);
  r = {h.session, h.seq, h.count};
  return true;
}

// Whether `packet` is whole: every block within it, no byte over, and no sequence number past the 64 bits.
// A packet that is not is dropped entirely, as if lost.
inline bool well_formed(Bytes packet, Header& h) {
  if (!decode(packet, h)) return false;
  if (h.seq + h.blocks() < h.seq) return false;
  std::size_t at = kHeaderBytes;
  for (u32 i = 0; i < h.blocks(); ++i) {
    if (packet.size() - at < 2) return false;
    const std::size_t n = load_be16(packet.data() + at);
    at += 2;
    if (packet.size() - at < n) return false;
    at += n;
  }
  return at == packet.size();
}

// The blocks of a packet, one after the other; stops at the first that does not fit.
class BlockIterator {
 public:
  BlockIterator(Bytes packet, const Header& h) : packet_(packet), left_(h.blocks()), seq_(h.seq) {}

  // False at the end (or at the first malformed block).
  bool next(Bytes& msg) {
    if (left_ == 0 || packet_.size() < at_ || packet_.size() - at_ < 2) return false;
    const std::size_t n = load_be16(packet_.data() + at_);
    if (packet_.size() - at_ - 2 < n) return false;
    msg = packet_.subspan(at_ + 2, n);
    at_ += 2 + n;
    --left_;
    ++seq_;
    return true;
  }
  // Sequence number of the block `next` gave last.
  u64 seq() const { return seq_ - 1; }

 private:
  Bytes packet_;
  std::size_t at_ = kHeaderBytes;
  u32 left_;
  u64 seq_;
};

// Fills one downstream packet in a buffer of the caller's.
class PacketBuilder {
 public:
  PacketBuilder(u8* buffer, std::size_t capacity) : buffer_(buffer), capacity_(capacity) {}

  void start(const Session& session, u64 seq) {
    header_ = {session, seq, 0};
    size_ = kHeaderBytes;
  }
  // False when the message does not fit any more (nothing is written).
  bool add(Bytes msg) {
    if (msg.size() > 0xFFFF || size_ + 2 + msg.size() > capacity_ || header_.count == kEndOfSession - 1) return false;
    store_be16(buffer_ + size_, static_cast<u16>(msg.size()));
    if (!msg.empty()) std::memcpy(buffer_ + size_ + 2, msg.data(), msg.size());
    size_ += 2 + msg.size();
    ++header_.count;
    return true;
  }
  u16 count() const { return header_.count; }
  bool empty() const { return header_.count == 0; }
  // The packet as it would go out now; with no block added this is a heartbeat.
  Bytes finish() {
    encode(header_, buffer_);
    return {buffer_, size_};
  }
  // An end-of-session packet; `seq` is the next expected sequence.
  Bytes end_of_session(const Session& session, u64 seq) {
    encode(Header{session, seq, kEndOfSession}, buffer_);
    return {buffer_, kHeaderBytes};
  }

 private:
  u8* buffer_;
  std::size_t capacity_;
  Header header_{};
  std::size_t size_ = kHeaderBytes;
};

}  // namespace peregrine::mold
