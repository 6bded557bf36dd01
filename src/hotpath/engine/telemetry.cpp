#include "engine/telemetry.h"

#include <cstring>
#include <new>

#include "core/assert.h"
#include "core/bytes.h"

namespace peregrine::engine {

namespace {

constexpr u32 kCounters = static_cast<u32>(Counter::kCount);
constexpr u32 kHists = static_cast<u32>(Hist::kCount);
constexpr u32 kRejectRows = kRiskReasons + kRejectCodes;
constexpr const char* kCounterNames[] = {
#define X(name) #name,
    PEREGRINE_COUNTERS(X)
#undef X
};
constexpr const char* kHistNames[] = {
#define X(name) #name,
    PEREGRINE_HISTOGRAMS(X)
#undef X
};

constexpr std::size_t aligned(std::size_t n) { return (n + 63) & ~std::size_t{63}; }

struct Offsets {
  std::size_t counters, instruments, heads, data, rejects, limits, total;
};

Offsets offsets(std::size_t instruments) {
  Offsets o{};
  o.counters = 64;
  o.instruments = aligned(o.counters + kCounters * 32);
  o.heads = o.instruments + instruments * 64;
  o.data = o.heads + kHists * 64;
  o.rejects = o.data + kHists * sizeof(Histogram);
  o.limits = aligned(o.rejects + kRejectRows * 32);
  o.total = o.limits + instruments * 64;
  return o;
}

}  // namespace

std::size_t Telemetry::bytes_needed(std::size_t instruments) { return offsets(instruments).total; }

Telemetry::Telemetry(u8* memory, const std::vector<std::string>& symbols, i64 units_per_currency)
    : base_(memory), n_instruments_(static_cast<u32>(symbols.size())) {
  const Offsets o = offsets(symbols.size());
  counters_ = base_ + o.counters;
  instruments_ = base_ + o.instruments;
  heads_ = base_ + o.heads;
  std::memcpy(base_, "PRGTELE1", 8);
  store_le<u32>(base_ + 8, 1);
  store_le<u32>(base_ + 12, static_cast<u32>(o.total));
  store_le<u32>(base_ + 16, kCounters);
  store_le<u32>(base_ + 20, static_cast<u32>(o.counters));
  store_le<u32>(base_ + 24, kHists);
  store_le<u32>(base_ + 28, static_cast<u32>(o.heads));
  store_le<u32>(base_ + 32, n_instruments_);
  store_le<u32>(base_ + 36, static_cast<u32>(o.instruments));
  store_le<u64>(base_ + 40, static_cast<u64>(units_per_currency));
  for (u32 i = 0; i < kCounters; ++i) std::strncpy(reinterpret_cast<char*>(counters_ + i * 32), kCounterNames[i], 24);
  for (u32 i = 0; i < n_instruments_; ++i) {
    store_alpha(instruments_ + i * 64, 8, symbols[i].data(), symbols[i].size());
  }
  for (u32 i = 0; i < kHists; ++i) {
    histograms_[i] = new (base_ + o.data + i * sizeof(Histogram)) Histogram{};
    u8* head = heads_ + i * 64;
    std::strncpy(reinterpret_cast<char*>(head), kHistNames[i], 24);
    const std::size_t counts_at = o.data + i * sizeof(Histogram) + offsetof(Histogram, counts);
    store_le<u32>(head + 24, static_cast<u32>(counts_at));
    store_le<u32>(head + 28, Histogram::kBuckets);
    store_le<u32>(head + 32, Histogram::kSubBits - 1);  // the reader counts 2^s steps an octave
  }
  rejects_ = base_ + o.rejects;
  limits_ = base_ + o.limits;
  for (u32 i = 0; i < kRejectRows; ++i) {
    const bool venue = i >= kRiskReasons;
    const std::string name = venue ? "venue." + std::to_string(i - kRiskReasons)
                                   : std::string(risk_reason_name(static_cast<RiskReason>(i)));
    std::strncpy(reinterpret_cast<char*>(rejects_ + i * 32), name.c_str(), 24);
  }
  store_le<u32>(base_ + 56, kRejectRows);
  store_le<u32>(base_ + 60, static_cast<u32>(o.rejects));
  store(base_ + 48, 1);
}

void Telemetry::set_instrument(u32 ix, const InstrumentTelemetry& t) {
  PRG_ASSERT(ix < n_instruments_);
  u8* p = instruments_ + ix * 64 + 8;
  for (const i64 v : {t.bid_ticks, t.ask_ticks, t.last_ticks, t.position_lots, t.pnl_units, t.working_lots, t.state}) {
    store(p, v);
    p += 8;
  }
}

void Telemetry::set_limits(u32 ix, const LimitTelemetry& t) {
  PRG_ASSERT(ix < n_instruments_);
  u8* p = limits_ + ix * 64;
  for (const i64 v : {t.worst_long_lots, t.limit_long_lots, t.worst_short_lots, t.limit_short_lots, t.working_orders,
                      t.limit_working_orders, t.working_units, t.limit_working_units}) {
    store(p, v);
    p += 8;
  }
}

void Telemetry::publish() {
  for (u32 i = 0; i < kHists; ++i) {
    const Histogram& h = *histograms_[i];
    u8* head = heads_ + i * 64;
    store(head + 40, h.count == 0 ? 0 : h.max);
    store(head + 48, h.count == 0 ? 0 : h.min);
    store(head + 56, static_cast<i64>(h.sum));
  }
}

}  // namespace peregrine::engine
