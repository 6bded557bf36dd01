// Reading the features' view of a book out of a Market.
#include "market/market.h"
#include "signal/features.h"

namespace peregrine {

void FeatureEngine::on_event(const Event& e, const Market& market) {
  if (e.instrument >= state_.size() || e.instrument >= market.instruments()) return;
  const Top t = market.top(e.instrument);
  on_event(e, TopView{t.bid_ticks, t.bid_lots, t.ask_ticks, t.ask_lots});
}

void FeatureEngine::compute(InstrumentIx ix, TimeNs now, const Market& market, const OwnState& own, i32* out) {
  Depth d;
  market.each_level(ix, Side::kBuy, BookView::kLevels, [&d](int i, PriceTicks ticks, QtyLots lots) {
    const QtyLots read = lots < kLotsCap ? lots : kLotsCap;
    if (i == 0) d.bid_ticks = ticks, d.bid = read;
    d.bid5 += read;
  });
  market.each_level(ix, Side::kSell, BookView::kLevels, [&d](int i, PriceTicks ticks, QtyLots lots) {
    const QtyLots read = lots < kLotsCap ? lots : kLotsCap;
    if (i == 0) d.ask_ticks = ticks, d.ask = read;
    d.ask5 += read;
  });
  compute(ix, now, d, own, out);
}

}  // namespace peregrine
