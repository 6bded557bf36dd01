#include "vfio/iova.h"

#define PAGE 4096u

void pgd_iova_allow(struct pgd_iova* iova, uint64_t start, uint64_t last) {
  if (start < PGD_IOVA_LOWEST) start = PGD_IOVA_LOWEST;
  if (last < start || iova->n_allowed == PGD_IOVA_RANGES) return;
  iova->allowed[iova->n_allowed++] = (struct pgd_iova_range){start, last};
}

void pgd_iova_default(struct pgd_iova* iova) {
  iova->n_allowed = 0;
  pgd_iova_allow(iova, PGD_IOVA_LOWEST, 0xFEDFFFFFu);
  pgd_iova_allow(iova, 0xFEF00000u, 0xFFFFFFFFu);
}

// The lowest address from `at` on that overlaps nothing taken, if it still lies in the range; else 0.
static uint64_t fit(const struct pgd_iova* iova, const struct pgd_iova_range* range, uint64_t bytes) {
  if (range->start > UINT64_MAX - PAGE) return 0;
  uint64_t at = (range->start + PAGE - 1u) & ~(uint64_t)(PAGE - 1u);
  for (uint32_t i = 0; i < iova->n_taken; ++i) {
    const struct pgd_iova_range* t = &iova->taken[i];
    if (t->last >= at && t->start <= at + bytes - 1u) at = t->last + 1u;
  }
  return at <= range->last && range->last - at >= bytes - 1u ? at : 0;
}

uint64_t pgd_iova_take(struct pgd_iova* iova, uint64_t bytes) {
  if (bytes == 0 || bytes % PAGE != 0 || iova->n_taken == PGD_IOVA_PIECES) return 0;
  for (uint32_t r = 0; r < iova->n_allowed; ++r) {
    const uint64_t at = fit(iova, &iova->allowed[r], bytes);
    if (at == 0) continue;
    uint32_t place = iova->n_taken++;
    for (; place > 0 && iova->taken[place - 1].start > at; --place) iova->taken[place] = iova->taken[place - 1];
    iova->taken[place] = (struct pgd_iova_range){at, at + bytes - 1u};
    return at;
  }
  return 0;
}

void pgd_iova_give(struct pgd_iova* iova, uint64_t start) {
  for (uint32_t i = 0; i < iova->n_taken; ++i) {
    if (iova->taken[i].start != start) continue;
    for (--iova->n_taken; i < iova->n_taken; ++i) iova->taken[i] = iova->taken[i + 1];
    return;
  }
}
