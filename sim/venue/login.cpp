#include "venue/login.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace peregrine::venue {
namespace {

std::string upper(std::string s) {
  std::transform(s.begin(), s.end(), s.begin(), [](unsigned char x) { return static_cast<char>(std::toupper(x)); });
  return s;
}

template <class Field>
std::string text_of(const Field& field) {
  std::string s(field.begin(), field.end());
  s.erase(s.find_last_not_of(' ') + 1);
  return upper(s);
}

}  // namespace

LoginVerdict check_login(const Exchange& exchange, Bytes payload, bool snapshot) {
  LoginVerdict v;
  const auto refuse = [&v](u8 reason) {
    v.refused = reason;
    return v;
  };
  soup::LoginRequest login;
  if (!soup::decode(payload, login)) return refuse('A');
  const int port = exchange.port_of(text_of(login.username));
  if (port < 0) return refuse('A');
  v.port = static_cast<PortIx>(port);
  if (text_of(login.password) != upper(exchange.config().ports[v.port].password)) return refuse('A');
  const std::string& name = exchange.config().session;
  v.accepted.session = soup::make_session(name.data(), name.size());
  if (!soup::same_session(login.session, soup::blank_session()) && !soup::same_session(login.session, v.accepted.session)) {
    return refuse('S');
  }
  if (snapshot) return v;
  const u64 next = exchange.port_store(v.port).next_seq();
  if (login.sequence > next) return refuse('S');  // it has seen messages this session never sent
  v.accepted.sequence = login.sequence == 0 ? next : login.sequence;
  return v;
}

void snapshot_answer(const Exchange& exchange, MessageStore& out, TimeNs now_ns) {
  exchange.snapshot(out, now_ns);
  u8 end[21] = {'G'};
  soup::store_sequence(end + 1, exchange.itch_store().next_seq());
  out.append(Bytes(end, sizeof end));
}

}  // namespace peregrine::venue
