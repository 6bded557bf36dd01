// The schema's canonical text: the same bytes as hotpath/signal/schema.py makes.
#include "signal/features.h"

namespace peregrine {
namespace {

constexpr const char* kNames[FeatureEngine::kFeatures] = {
    "microprice_offset", "spread",         "imbalance_1",  "imbalance_5",     "ofi_fast",       "ofi_slow",
    "flow_fast",         "flow_slow",      "return_fast",  "return_medium",   "return_slow",    "realised_volatility",
    "quote_rate",        "trade_rate",     "queue_ahead_bid", "queue_ahead_ask", "position",    "working_buy",
    "working_sell",      "time_since_trade", "depth_1",    "user_signal"};

}  // namespace

const char* const* feature_names() { return kNames; }

std::string schema_canonical(const FeatureParams& params) {
  std::string s = "peregrine.signal.schema;version=1;buckets=" + std::to_string(FeatureEngine::kBuckets) + ";shifts=";
  for (int i = 0; i < FeatureEngine::kWindows; ++i) {
    s += (i > 0 ? "," : "") + std::to_string(static_cast<int>(params.bucket_shift[i]));
  }
  s += ";features=";
  for (int i = 0; i < FeatureEngine::kFeatures; ++i) {
    if (i > 0) s += ',';
    s += kNames[i];
  }
  return s;
}

Sha256Digest schema_hash(const FeatureParams& params) { return Sha256::of(schema_canonical(params)); }

}  // namespace peregrine
