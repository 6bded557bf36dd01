// What a policy set must be before it is sent anywhere, and a request as its lines.
#include "core/common.h"

static int check_layer(const struct pgd_layer* layer, uint32_t p, uint32_t l, bool last, struct pgd_reason* reason) {
  const char* rule = "make the policy again within docs/formats-policy.md";
  if (layer->weights == NULL || layer->bias == NULL) {
    return pgd_refuse(PGD_E_INVALID, reason, "", "policy %u layer %u: no weights or no biases", p, l);
  }
  if (last != (layer->shift == NULL)) {
    return pgd_refuse(PGD_E_INVALID, reason, rule, "policy %u layer %u: %s", p, l,
                      last ? "found shifts on the last layer, expected none: it gives logits" : "found no shifts");
  }
  if (layer->relu > 1u || (last && layer->relu != 0u)) {
    return pgd_refuse(PGD_E_INVALID, reason, rule, "policy %u layer %u: relu is %u, expected %s", p, l, layer->relu,
                      last ? "0 on the last layer" : "0 or 1");
  }
  for (uint32_t o = 0; o < layer->outputs; ++o) {
    const int8_t* w = layer->weights + (size_t)o * layer->inputs;
    int64_t bound = layer->bias[o] < 0 ? -(int64_t)layer->bias[o] : layer->bias[o];
    for (uint32_t i = 0; i < layer->inputs; ++i) bound += 128 * (w[i] < 0 ? -(int64_t)w[i] : w[i]);
    if (!last) {
      if (layer->shift[o] < 1 || layer->shift[o] > 24) {
        return pgd_refuse(PGD_E_LIMIT, reason, rule, "policy %u layer %u shift[%u]: found %u, expected 1..24", p, l, o,
                          layer->shift[o]);
      }
      bound += (int64_t)1 << (layer->shift[o] - 1);
    }
    if (bound >= PGD_ACCUMULATOR_BOUND) {
      return pgd_refuse(PGD_E_LIMIT, reason, rule,
                        "policy %u layer %u channel %u: 128*sum|w| + |b| + rounding = %lld, expected below 2^24", p, l, o,
                        (long long)bound);
    }
  }
  return PGD_OK;
}

static int check_policy(const struct pgd_policy* policy, uint32_t p, const struct pgd_caps* caps,
                        struct pgd_reason* reason) {
  const char* smaller = "take a smaller network, or a core built for a larger one";
  if (policy->layer == NULL || policy->quant_m == NULL || policy->quant_s == NULL) {
    return pgd_refuse(PGD_E_INVALID, reason, "", "policy %u: no layers or no quantiser", p);
  }
  if (policy->n_inputs < 1 || policy->n_inputs > caps->max_inputs) {
    return pgd_refuse(PGD_E_LIMIT, reason, smaller, "policy %u: %u inputs, expected 1..%u", p, policy->n_inputs,
                      caps->max_inputs);
  }
  if (policy->n_layers < 1 || policy->n_layers > caps->max_layers) {
    return pgd_refuse(PGD_E_LIMIT, reason, smaller, "policy %u: %u layers, expected 1..%u", p, policy->n_layers,
                      caps->max_layers);
  }
  for (uint32_t i = 0; i < policy->n_inputs; ++i) {
    if (policy->quant_s[i] > 46) {
      return pgd_refuse(PGD_E_LIMIT, reason, "make the policy again within docs/formats-policy.md",
                        "policy %u quant_s[%u]: found %u, expected 0..46", p, i, policy->quant_s[i]);
    }
  }
  uint32_t width = policy->n_inputs;
  for (uint32_t l = 0; l < policy->n_layers; ++l) {
    const struct pgd_layer* layer = &policy->layer[l];
    const bool last = l + 1 == policy->n_layers;
    const uint32_t most = last ? caps->max_outputs : caps->max_width;
    if (layer->inputs != width) {
      return pgd_refuse(PGD_E_INVALID, reason, "", "policy %u layer %u: %u inputs, expected %u (what comes before it)", p,
                        l, layer->inputs, width);
    }
    if (layer->outputs < 1 || layer->outputs > most) {
      return pgd_refuse(PGD_E_LIMIT, reason, smaller, "policy %u layer %u: %u outputs, expected 1..%u", p, l,
                        layer->outputs, most);
    }
    const int result = check_layer(layer, p, l, last, reason);
    if (result != PGD_OK) return result;
    width = layer->outputs;
  }
  return PGD_OK;
}

int pgd_check_set(const struct pgd_policy_set* set, const struct pgd_caps* caps, struct pgd_reason* reason) {
  if (set == NULL || set->policy == NULL) return pgd_refuse(PGD_E_INVALID, reason, "", "no policies");
  if (set->n_policies < 1 || set->n_policies > caps->slots) {
    return pgd_refuse(PGD_E_LIMIT, reason, "load fewer policies", "%u policies, expected 1..%u", set->n_policies,
                      caps->slots);
  }
  for (uint32_t p = 0; p < set->n_policies; ++p) {
    const int result = check_policy(&set->policy[p], p, caps, reason);
    if (result != PGD_OK) return result;
  }
  return PGD_OK;
}

uint32_t pgd_request_lines(uint64_t tag, uint32_t slot, uint32_t kind, const void* inputs, uint32_t count,
                           unsigned char lines[PGD_MAX_LINES * PGD_LINE_BYTES]) {
  const uint32_t commit = (uint32_t)tag;
  const unsigned char* from = inputs;
  uint32_t left = count * pgd_input_bytes(kind);
  struct pgd_request head = {.tag = tag, .slot = (uint8_t)slot, .kind = (uint8_t)kind, .count = (uint8_t)count,
                             .commit = commit};
  uint32_t taken = left < PGD_FIRST_BODY_BYTES ? left : PGD_FIRST_BODY_BYTES;
  memcpy(head.body, from, taken);
  memcpy(lines, &head, PGD_LINE_BYTES);
  uint32_t n = 1;
  for (left -= taken; left > 0; ++n) {
    from += taken;
    taken = left < PGD_NEXT_BODY_BYTES ? left : PGD_NEXT_BODY_BYTES;
    unsigned char* line = lines + n * PGD_LINE_BYTES;
    memset(line, 0, PGD_NEXT_BODY_BYTES);
    memcpy(line, from, taken);
    memcpy(line + PGD_NEXT_BODY_BYTES, &commit, sizeof commit);
    left -= taken;
  }
  return n;
}
