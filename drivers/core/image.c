// A policy set as the words a loadable core's bank takes: the C twin of hdl/peregrine_hdl/bank_image.py, word for word.
//
//   word 0         image version 8 | slots 8 | lanes 16
//   five sections  each a head word, count of words 24 | region 8, then that many words
//     slots        first_layer 8 | layers 8 | inputs 8 | zero 7 | valid 1      one a slot of the build
//     layers       inputs 8 | outputs 8 | relu 1 | zero 15, weight row 16 | channel row 16
//     quantiser    m 16 | s 6 | zero 10                                        64 a slot
//     channels     bias and half 25 | shift 5 | zero 2                         rows of `lanes`, one a group of outputs
//     weights      rows of `lanes` int8: a layer's groups of outputs, in each a row an input
#include "core/common.h"

#define IMAGE_VERSION 1u
#define RELU (1u << 16)
#define SLOT_VALID (1u << 31)
#define BIAS_MASK ((1u << 25) - 1u)
#define BIAS_BITS 25u

enum { kSlots, kLayers, kQuantiser, kChannels, kWeights };

struct writer {
  uint32_t* words;
  uint32_t capacity, at;  // at goes on beyond capacity: what would be needed
};

static void put(struct writer* w, uint32_t word) {
  if (w->at < w->capacity) w->words[w->at] = word;
  ++w->at;
}

static void head(struct writer* w, uint32_t region, uint32_t count) { put(w, count | region << 24); }

static uint32_t groups_of(const struct pgd_layer* layer, uint32_t lanes) { return (layer->outputs + lanes - 1u) / lanes; }

static void put_channels(struct writer* w, const struct pgd_layer* layer, uint32_t lanes) {
  for (uint32_t o = 0; o < groups_of(layer, lanes) * lanes; ++o) {
    if (o >= layer->outputs) {
      put(w, 0);
      continue;
    }
    const uint32_t shift = layer->shift != NULL ? layer->shift[o] : 0u;
    const int32_t folded = layer->bias[o] + (shift != 0 ? 1 << (shift - 1u) : 0);
    put(w, ((uint32_t)folded & BIAS_MASK) | shift << BIAS_BITS);
  }
}

static void put_weights(struct writer* w, const struct pgd_layer* layer, uint32_t lanes) {
  for (uint32_t g = 0; g < groups_of(layer, lanes); ++g) {
    for (uint32_t i = 0; i < layer->inputs; ++i) {
      for (uint32_t column = 0; column < lanes; column += 4) {
        uint32_t word = 0;
        for (uint32_t k = 0; k < 4; ++k) {
          const uint32_t o = g * lanes + column + k;
          if (o < layer->outputs) word |= (uint32_t)(uint8_t)layer->weights[(size_t)o * layer->inputs + i] << (8u * k);
        }
        put(w, word);
      }
    }
  }
}

static void put_slots(struct writer* w, const struct pgd_policy_set* set, uint32_t slots) {
  uint32_t first = 0;
  head(w, kSlots, slots);
  for (uint32_t s = 0; s < slots; ++s) {
    const struct pgd_policy* p = s < set->n_policies ? &set->policy[s] : NULL;
    put(w, p != NULL ? first | p->n_layers << 8 | p->n_inputs << 16 | SLOT_VALID : 0u);
    if (p != NULL) first += p->n_layers;
  }
}

static void put_quantiser(struct writer* w, const struct pgd_policy_set* set, uint32_t slots) {
  head(w, kQuantiser, PGD_MAX_INPUTS * slots);
  for (uint32_t s = 0; s < slots; ++s) {
    const struct pgd_policy* p = s < set->n_policies ? &set->policy[s] : NULL;
    for (uint32_t i = 0; i < PGD_MAX_INPUTS; ++i) {
      put(w, p != NULL && i < p->n_inputs ? (uint32_t)(uint16_t)p->quant_m[i] | (uint32_t)p->quant_s[i] << 16 : 0u);
    }
  }
}

int pgd_image_pack(const struct pgd_policy_set* set, const struct pgd_caps* caps, uint32_t* words, uint32_t capacity,
                   uint32_t* n_words, uint32_t* crc, struct pgd_reason* reason) {
  if (caps == NULL || words == NULL) return PGD_E_INVALID;
  const int result = pgd_check_set(set, caps, reason);
  if (result != PGD_OK) return result;
  const uint32_t lanes = caps->lanes;
  if (caps->banks == 0 || lanes == 0 || lanes % 4 != 0) {
    return pgd_refuse(PGD_E_UNSUPPORTED, reason, "", "a core of %u banks and %u lanes takes no image", caps->banks, lanes);
  }
  uint32_t layers = 0, channel_rows = 0, weight_rows = 0;
  for (uint32_t p = 0; p < set->n_policies; ++p) {
    layers += set->policy[p].n_layers;
    for (uint32_t l = 0; l < set->policy[p].n_layers; ++l) {
      const struct pgd_layer* layer = &set->policy[p].layer[l];
      channel_rows += groups_of(layer, lanes);
      weight_rows += groups_of(layer, lanes) * layer->inputs;
    }
  }
  if (weight_rows > 0xFFFFu || layers > 0xFFu) {
    return pgd_refuse(PGD_E_LIMIT, reason, "load fewer or smaller policies", "%u weight rows and %u layers", weight_rows,
                      layers);
  }
  struct writer w = {words, capacity, 0};
  put(&w, IMAGE_VERSION | caps->slots << 8 | lanes << 16);
  put_slots(&w, set, caps->slots);
  head(&w, kLayers, 2u * layers);
  uint32_t weight_row = 0, channel_row = 0;
  for (uint32_t p = 0; p < set->n_policies; ++p) {
    for (uint32_t l = 0; l < set->policy[p].n_layers; ++l) {
      const struct pgd_layer* layer = &set->policy[p].layer[l];
      put(&w, layer->inputs | layer->outputs << 8 | (layer->relu != 0 ? RELU : 0u));
      put(&w, weight_row | channel_row << 16);
      weight_row += groups_of(layer, lanes) * layer->inputs;
      channel_row += groups_of(layer, lanes);
    }
  }
  put_quantiser(&w, set, caps->slots);
  head(&w, kChannels, channel_rows * lanes);
  for (uint32_t p = 0; p < set->n_policies; ++p) {
    for (uint32_t l = 0; l < set->policy[p].n_layers; ++l) put_channels(&w, &set->policy[p].layer[l], lanes);
  }
  head(&w, kWeights, weight_rows * lanes / 4u);
  for (uint32_t p = 0; p < set->n_policies; ++p) {
    for (uint32_t l = 0; l < set->policy[p].n_layers; ++l) put_weights(&w, &set->policy[p].layer[l], lanes);
  }
  if (w.at > capacity) {
    return pgd_refuse(PGD_E_MEMORY, reason, "load fewer or smaller policies", "the image has %u words, %u are there", w.at,
                      capacity);
  }
  if (n_words != NULL) *n_words = w.at;
  if (crc != NULL) *crc = pgd_crc32(0, words, (size_t)w.at * 4u);
  return PGD_OK;
}
