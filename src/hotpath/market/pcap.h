// Packets out of a classic pcap capture: Ethernet (802.1Q tags skipped), IPv4, UDP and TCP; the payload is cut by the
// IP length, so that checksums and vendor trailers behind it do not count.
//
//   file    0 magic | 4 version | 8 zone | 12 accuracy | 16 snap length | 20 link type | 24 records …
//   record  0 seconds | 4 micro- or nanoseconds | 8 captured bytes | 12 bytes on the wire | 16 frame …
#pragma once

#include "core/bytes.h"
#include "core/types.h"

namespace peregrine::pcap {

struct Packet {
  TimeNs ts_ns = 0;
  u8 protocol = 0;  // 17 UDP, 6 TCP
  u8 tcp_flags = 0;
  bool cut = false;  // captured shorter than it was on the wire
  u16 src_port = 0;
  u16 dst_port = 0;
  u32 src_ip = 0;
  u32 dst_ip = 0;
  u32 tcp_seq = 0;
  std::size_t offset = 0;          // of the record in the file
  std::size_t payload_offset = 0;  // of the payload in the file
  Bytes payload;
};

class Reader {
 public:
  enum class Error : u8 { kNone, kNotPcap, kLinkType, kTruncated };

  explicit Reader(Bytes file) : file_(file) { open(); }

  // The next UDP or TCP packet; false at the end or on an error (see `error`).
  bool next(Packet& p) {
    while (error_ == Error::kNone && at_ < file_.size()) {
      if (file_.size() - at_ < 16) return fail(Error::kTruncated);
      const u32 captured = get32(at_ + 8);
      if (captured > file_.size() - at_ - 16) return fail(Error::kTruncated);
      p = Packet{};
      p.offset = at_;
      p.ts_ns = static_cast<TimeNs>(get32(at_)) * 1'000'000'000 + static_cast<TimeNs>(get32(at_ + 4)) * unit_ns_;
      p.cut = captured < get32(at_ + 12);
      const std::size_t frame = at_ + 16;
      at_ = frame + captured;
      ++records_;
      if (parse_frame(frame, captured, p)) return true;
      ++skipped_;
    }
    return false;
  }
  Error error() const { return error_; }
  std::size_t at() const { return at_; }       // where the next record starts
  u64 records() const { return records_; }
  u64 skipped() const { return skipped_; }     // neither UDP nor TCP over IPv4, fragments, or damaged
  u32 link_type() const { return link_type_; }

 private:
  void open() {
    if (file_.size() < 24) {
      error_ = Error::kNotPcap;
      return;
    }
    const u32 le = load_le<u32>(file_.data());
    const u32 be = load_be32(file_.data());
    if (le == 0xA1B2C3D4u || le == 0xA1B23C4Du) {
      big_ = false;
    } else if (be == 0xA1B2C3D4u || be == 0xA1B23C4Du) {
      big_ = true;
    } else {
      error_ = Error::kNotPcap;
      return;
    }
    unit_ns_ = (big_ ? be : le) == 0xA1B23C4Du ? 1 : 1000;
    link_type_ = get32(20) & 0xFFFF;
    if (link_type_ != 1) error_ = Error::kLinkType;
    at_ = 24;
  }
  bool fail(Error e) {
    error_ = e;
    return false;
  }
  u32 get32(std::size_t at) const {
    return big_ ? load_be32(file_.data() + at) : load_le<u32>(file_.data() + at);
  }
  bool parse_frame(std::size_t at, std::size_t n, Packet& p) const {
    const u8* f = file_.data() + at;
    std::size_t eth = 14;
    if (n < eth) return false;
    u16 type = load_be16(f + 12);
    while (type == 0x8100 || type == 0x88A8 || type == 0x9100) {
      if (n < eth + 4) return false;
      type = load_be16(f + eth + 2);
      eth += 4;
    }
    if (type != 0x0800 || n < eth + 20) return false;
    const u8* ip = f + eth;
    const std::size_t head = static_cast<std::size_t>(ip[0] & 15) * 4;
    const std::size_t total = load_be16(ip + 2);
    if (ip[0] >> 4 != 4 || head < 20 || total < head) return false;
    const std::size_t have = n - eth < total ? n - eth : total;
    if (have < total) p.cut = true;
    if ((load_be16(ip + 6) & 0x3FFF) != 0) return false;  // a fragment
    if (have < head) return false;
    p.protocol = ip[9];
    p.src_ip = load_be32(ip + 12);
    p.dst_ip = load_be32(ip + 16);
    const u8* l4 = ip + head;
    const std::size_t left = have - head;
    std::size_t skip, end = left;
    if (p.protocol == 17) {
      if (left < 8) return false;
      skip = 8;
      const std::size_t udp = load_be16(l4 + 4);
      if (udp < 8) return false;
      if (udp < end) end = udp;
    } else if (p.protocol == 6) {
      if (left < 20) return false;
      skip = static_cast<std::size_t>(l4[12] >> 4) * 4;
      if (skip < 20 || skip > left) return false;
      p.tcp_seq = load_be32(l4 + 4);
      p.tcp_flags = l4[13];
    } else {
      return false;
    }
    p.src_port = load_be16(l4);
    p.dst_port = load_be16(l4 + 2);
    p.payload_offset = static_cast<std::size_t>(l4 + skip - file_.data());
    p.payload = file_.subspan(p.payload_offset, end - skip);
    return true;
  }

  Bytes file_;
  std::size_t at_ = 0;
  Error error_ = Error::kNone;
  bool big_ = false;
  TimeNs unit_ns_ = 1;
  u32 link_type_ = 0;
  u64 records_ = 0;
  u64 skipped_ = 0;
};

}  // namespace peregrine::pcap
