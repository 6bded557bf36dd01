#include "execution/soup.h"

namespace peregrine::soup {
namespace {

template <std::size_t N>
void store_text(u8* p, const std::array<char, N>& a) {
  std::memcpy(p, a.data(), N);
}
template <std::size_t N>
void load_text(const u8* p, std::array<char, N>& a) {
  std::memcpy(a.data(), p, N);
}

struct Text {
  const char* begin;
  const char* end;
};
Text strip(const SessionId& id) {
  const char* b = id.data();
  const char* e = b + id.size();
  while (b < e && (*b == ' ' || *b == '\0')) ++b;
  while (b < e && (e[-1] == ' ' || e[-1] == '\0')) --e;
  return {b, e};
}

}  // namespace

SessionId make_session(const char* text, std::size_t n) {
  SessionId id = blank_session();
  if (n > id.size()) text += n - id.size(), n = id.size();
  std::memcpy(id.data() + id.size() - n, text, n);
  return id;
}

bool same_session(const SessionId& a, const SessionId& b) {
  const Text x = strip(a), y = strip(b);
  return x.end - x.begin == y.end - y.begin &&
         std::memcmp(x.begin, y.begin, static_cast<std::size_t>(x.end - x.begin)) == 0;
}

void store_sequence(u8* p, u64 v) {
  std::memset(p, ' ', 20);
  int at = 19;
  do {
    p[at--] = static_cast<u8>('0' + v % 10);
    v /= 10;
  } while (v != 0);
}

bool load_sequence(const u8* p, u64& v) {
  int at = 0, end = 20;
  while (at < end && p[at] == ' ') ++at;
  while (at < end && p[end - 1] == ' ') --end;
  if (at == end) return false;
  u64 r = 0;
  for (; at < end; ++at) {
    if (p[at] < '0' || p[at] > '9') return false;
    const u64 digit = static_cast<u64>(p[at] - '0');
    if (r > (~u64{0} - digit) / 10) return false;
    r = r * 10 + digit;
  }
  v = r;
  return true;
}

std::size_t encode(const LoginRequest& m, u8* out) {
  store_text(out, m.username);
  store_text(out + 6, m.password);
  store_text(out + 16, m.session);
  store_sequence(out + 26, m.sequence);
  return kLoginRequestBytes;
}

std::size_t encode(const LoginAccepted& m, u8* out) {
  store_text(out, m.session);
  store_sequence(out + 10, m.sequence);
  return kLoginAcceptedBytes;
}

bool decode(Bytes payload, LoginRequest& m) {
  if (payload.size() != kLoginRequestBytes) return false;
  load_text(payload.data(), m.username);
  load_text(payload.data() + 6, m.password);
  load_text(payload.data() + 16, m.session);
  return load_sequence(payload.data() + 26, m.sequence);
}

bool decode(Bytes payload, LoginAccepted& m) {
  if (payload.size() != kLoginAcceptedBytes) return false;
  load_text(payload.data(), m.session);
  return load_sequence(payload.data() + 10, m.sequence);
}

}  // namespace peregrine::soup
