// OUCH messages of both directions: any bytes decode or are refused; what decodes encodes to the same bytes; the
// appendage's elements lie end to end in it.
#include "execution/ouch.h"
#include "fuzz.h"

using namespace peregrine;

namespace {

void appendage(Bytes a) {
  const bool good = ouch::well_formed(a);
  std::size_t at = 0;
  bool whole = true;
  while (whole && at < a.size()) {
    whole = a[at] >= 1 && at + 1 + a[at] <= a.size();
    if (whole) at += 1 + static_cast<std::size_t>(a[at]);
  }
  FUZZ_CHECK(good == whole);
  for (unsigned tag = 0; tag < 256; ++tag) {
    const Bytes value = ouch::find_tag(a, static_cast<u8>(tag));
    if (value.data() == nullptr) continue;
    FUZZ_CHECK(value.data() >= a.data() + 2 && value.data() + value.size() <= a.data() + a.size());
    FUZZ_CHECK(value.data()[-1] == tag && value.data()[-2] == value.size() + 1);
  }
}

template <class T>
void one(Bytes msg) {
  T m;
  if (!ouch::decode(msg, m)) return;
  FUZZ_CHECK(ouch::encoded_bytes(m) == msg.size());
  std::vector<u8> again(msg.size());
  FUZZ_CHECK(ouch::encode(m, again.data()) == msg.size());
  FUZZ_CHECK(std::memcmp(again.data(), msg.data(), msg.size()) == 0);
  FUZZ_CHECK(ouch::well_formed(m.appendage));
}

template <class... T>
void all(Bytes msg) {
  (one<T>(msg), ...);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  const Bytes msg(data, size);
  all<ouch::EnterOrder, ouch::ReplaceOrder, ouch::CancelOrder, ouch::ModifyOrder, ouch::AccountQuery, ouch::MassCancel,
      ouch::DisableEntry, ouch::EnableEntry>(msg);
  all<ouch::SystemEvent, ouch::Accepted, ouch::Replaced, ouch::Canceled, ouch::AiqCanceled, ouch::Executed,
      ouch::BrokenTrade, ouch::TradeCorrection, ouch::Rejected, ouch::CancelPending, ouch::CancelReject,
      ouch::PriorityUpdate, ouch::Modified, ouch::Restated, ouch::AccountQueryResponse, ouch::MassCancelResponse,
      ouch::DisableResponse, ouch::EnableResponse>(msg);
  if (size < 64) appendage(msg);
  return 0;
}
