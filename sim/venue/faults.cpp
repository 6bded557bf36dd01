#include "venue/faults.h"

#include <charconv>

namespace peregrine::venue {
namespace {

// "1%", "0.5%", "0.002": a share in parts per million; false when it is none.
bool read_share(std::string_view s, u32& ppm) {
  bool percent = false;
  if (!s.empty() && s.back() == '%') percent = true, s.remove_suffix(1);
  const std::size_t dot = s.find('.');
  const std::string_view whole_text = s.substr(0, dot);
  std::string_view fraction_text = dot == std::string_view::npos ? std::string_view() : s.substr(dot + 1);
  if (fraction_text.size() > 6) return false;
  u64 whole = 0, fraction = 0;
  const auto digits = [](std::string_view t, u64& out) {
    const auto r = std::from_chars(t.data(), t.data() + t.size(), out);
    return r.ec == std::errc() && r.ptr == t.data() + t.size();
  };
  if (!digits(whole_text, whole) || whole > 100 || (!fraction_text.empty() && !digits(fraction_text, fraction)))
    return false;
  for (std::size_t i = fraction_text.size(); i < 6; ++i) fraction *= 10;
  u64 value = whole * 1'000'000 + fraction;
  if (percent) value /= 100;
  ppm = static_cast<u32>(value);
  return value <= 1'000'000;
}

// "200us", "5ms", "10s".
bool read_time(std::string_view s, i64& ns) {
  i64 unit = 0;
  if (s.ends_with("ns"))
    unit = 1, s.remove_suffix(2);
  else if (s.ends_with("us"))
    unit = 1'000, s.remove_suffix(2);
  else if (s.ends_with("ms"))
    unit = 1'000'000, s.remove_suffix(2);
  else if (s.ends_with("s"))
    unit = 1'000'000'000, s.remove_suffix(1);
  i64 value = 0;
  const auto r = std::from_chars(s.data(), s.data() + s.size(), value);
  if (unit == 0 || r.ec != std::errc() || r.ptr != s.data() + s.size() || value < 0 || value > 1'000'000'000)
    return false;
  ns = value * unit;
  return true;
}

bool read_delay(std::string_view v, LineFaults& f) {
  const std::size_t at = v.find('@');
  f.delay_ppm = 1'000'000;
  return read_time(v.substr(0, at), f.delay_ns) &&
         (at == std::string_view::npos || read_share(v.substr(at + 1), f.delay_ppm));
}

bool read_halt(std::string_view v, HaltFault& h) {
  const std::size_t at = v.find('@');
  if (at == std::string_view::npos || at == 0 || at > 8) return false;
  h.symbol = v.substr(0, at);
  v.remove_prefix(at + 1);
  const std::size_t plus = v.find('+');
  return read_time(v.substr(0, plus), h.at_ns) &&
         (plus == std::string_view::npos || read_time(v.substr(plus + 1), h.for_ns));
}

}  // namespace

std::string parse_faults(const std::string& text, FaultPlan& out) {
  std::string_view left = text;
  while (!left.empty()) {
    const std::size_t comma = left.find(',');
    const std::string_view item = left.substr(0, comma);
    left = comma == std::string_view::npos ? std::string_view() : left.substr(comma + 1);
    const std::size_t eq = item.find('=');
    if (item.empty()) continue;
    if (eq == std::string_view::npos)
      return "fault \"" + std::string(item) + "\" has no value; write for example loss=1%";
    std::string_view key = item.substr(0, eq);
    const std::string_view value = item.substr(eq + 1);
    int first = 0, last = 1;
    if (key.starts_with("a."))
      last = 0, key.remove_prefix(2);
    else if (key.starts_with("b."))
      first = 1, key.remove_prefix(2);
    else if (key.starts_with("r."))
      first = last = 2, key.remove_prefix(2);
    bool known = true, good = true;
    for (int i = first; i <= last; ++i) {
      LineFaults& f = out.line[i];
      if (key == "loss")
        good &= read_share(value, f.loss_ppm);
      else if (key == "reorder")
        good &= read_share(value, f.reorder_ppm);
      else if (key == "dup")
        good &= read_share(value, f.dup_ppm);
      else if (key == "corrupt")
        good &= read_share(value, f.corrupt_ppm);
      else if (key == "delay")
        good &= read_delay(value, f);
      else
        known = false;
    }
    if (!known && first == 0 && last == 1) {
      known = true;
      if (key == "reject")
        good = read_share(value, out.reject_ppm);
      else if (key == "disconnect")
        good = read_time(value, out.disconnect_every_ns);
      else if (key == "lag")
        good = read_time(value, out.lag_ns);
      else if (key == "late")
        good = read_time(value, out.late_ns);
      else if (key == "halt")
        good = read_halt(value, out.halts.emplace_back());
      else
        known = false;
    }
    if (!known) {
      return "fault \"" + std::string(item.substr(0, eq)) +
             "\" is unknown; there are loss, reorder, dup, corrupt, delay (each also as a., b., r.), reject, "
             "disconnect, "
             "halt, lag, late";
    }
    if (!good) {
      return "fault \"" + std::string(item) +
             "\" cannot be read; shares are written 1%, times 5ms, delays 2ms@10%, halts SYMBOL@10s+5s";
    }
  }
  return {};
}

}  // namespace peregrine::venue
