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
  Level level[BookView::kLevels];
  BookView view;
  const int bids = market.levels(ix, Side::kBuy, level, BookView::kLevels);
  for (int i = 0; i < bids; ++i) {
    view.bid_ticks[i] = level[i].price_ticks;
    view.bid_lots[i] = level[i].qty_lots;
  }
  const int asks = market.levels(ix, Side::kSell, level, BookView::kLevels);
  for (int i = 0; i < asks; ++i) {
    view.ask_ticks[i] = level[i].price_ticks;
    view.ask_lots[i] = level[i].qty_lots;
  }
  compute(ix, now, view, own, out);
}

}  // namespace peregrine
