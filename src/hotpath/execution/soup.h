// SoupBinTCP 3.00: packet framing of an order session (and of GLIMPSE), both directions.
//
//   0        2      3
//   +--------+------+------------------+
//   | length | type | payload          |   length (big-endian) counts type + payload, not itself
//   +--------+------+------------------+
//
// A packet is handed on as "type byte + payload", without the length. TCP may cut or join anywhere.
#pragma once

#include <array>

#include "core/bytes.h"
#include "core/types.h"

namespace peregrine::soup {

inline constexpr u8 kDebug = '+';
inline constexpr u8 kLoginRequest = 'L';
inline constexpr u8 kLoginAccepted = 'A';
inline constexpr u8 kLoginRejected = 'J';
inline constexpr u8 kSequenced = 'S';
inline constexpr u8 kUnsequenced = 'U';
inline constexpr u8 kServerHeartbeat = 'H';
inline constexpr u8 kClientHeartbeat = 'R';
inline constexpr u8 kEndOfSession = 'Z';
inline constexpr u8 kLogout = 'O';

inline constexpr std::size_t kMaxPacketBytes = 65535;  // type + payload
inline constexpr std::size_t kLengthBytes = 2;
inline constexpr std::size_t kLoginRequestBytes = 46;  // payload
inline constexpr std::size_t kLoginAcceptedBytes = 30;  // payload
inline constexpr TimeNs kHeartbeatIdleNs = 1'000'000'000;
inline constexpr TimeNs kSilenceLimitNs = 15'000'000'000;

using SessionId = std::array<char, 10>;  // left-padded with spaces; all spaces = the current session

constexpr SessionId blank_session() {
  SessionId id{};
  id.fill(' ');
  return id;
}
// Right-justified in ten characters (longer text keeps its last ten).
SessionId make_session(const char* text, std::size_t n);
// Compares without the padding of either side.
bool same_session(const SessionId& a, const SessionId& b);

struct LoginRequest {
  std::array<char, 6> username{};   // left-justified, space padded
  std::array<char, 10> password{};  // left-justified, space padded
  SessionId session = blank_session();
  u64 sequence = 0;  // 0 = only what is new, n = replay from n
};

struct LoginAccepted {
  SessionId session = blank_session();
  u64 sequence = 1;  // number of the next sequenced packet
};

// Payloads (without type byte). Return the bytes written; decode says false for a malformed payload.
std::size_t encode(const LoginRequest& m, u8* out);
std::size_t encode(const LoginAccepted& m, u8* out);
bool decode(Bytes payload, LoginRequest& m);
bool decode(Bytes payload, LoginAccepted& m);

// 20 ASCII digits, right-justified, padded with spaces; the reader takes leading zeros and either padding.
void store_sequence(u8* p, u64 v);
bool load_sequence(const u8* p, u64& v);

// A whole packet: length, type, payload. `out` holds 3 + payload.size() bytes. Precondition: payload < 65535 bytes.
inline std::size_t frame(u8 type, Bytes payload, u8* out) {
  store_be16(out, static_cast<u16>(payload.size() + 1));
  out[2] = type;
  if (!payload.empty()) std::memcpy(out + 3, payload.data(), payload.size());
  return payload.size() + 3;
}

// Cuts a TCP byte stream into packets. Allocates nothing after construction; a packet that lies whole in a
// chunk is handed on without a copy. Frames of length 0 (no type byte) are counted and skipped.
class Framer {
 public:
  // Calls on_packet(Bytes type_and_payload) for each packet completed by `chunk`, in order.
  template <class F>
  void push(Bytes chunk, F&& on_packet) {
    const u8* p = chunk.data();
    std::size_t n = chunk.size();
    while (n > 0) {
      if (held_ == 0 && n >= kLengthBytes) {
        const std::size_t length = load_be16(p);
        if (n >= kLengthBytes + length) {
          deliver(Bytes(p + kLengthBytes, length), on_packet);
          p += kLengthBytes + length;
          n -= kLengthBytes + length;
          continue;
        }
      }
      const std::size_t want = held_ < kLengthBytes ? kLengthBytes : kLengthBytes + load_be16(buffer_.data());
      const std::size_t take = want - held_ < n ? want - held_ : n;
      std::memcpy(buffer_.data() + held_, p, take);
      held_ += take;
      p += take;
      n -= take;
      if (held_ >= kLengthBytes && held_ == kLengthBytes + load_be16(buffer_.data())) {
        const std::size_t length = held_ - kLengthBytes;
        held_ = 0;
        deliver(Bytes(buffer_.data() + kLengthBytes, length), on_packet);
      }
    }
  }
  // A new connection: what was held of a cut packet is forgotten.
  void reset() { held_ = 0; }
  std::size_t held_bytes() const { return held_; }
  u64 malformed() const { return malformed_; }

 private:
  template <class F>
  void deliver(Bytes packet, F&& on_packet) {
    if (packet.empty()) {
      ++malformed_;
      return;
    }
    on_packet(packet);
  }
  std::size_t held_ = 0;
  u64 malformed_ = 0;
  std::array<u8, kLengthBytes + kMaxPacketBytes> buffer_;
};

}  // namespace peregrine::soup
