#include "device_measure.h"

#include <time.h>

#include "core/common.h"

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const void* row_of(const struct pgd_load* load, uint64_t index) {
  const size_t bytes = (size_t)load->count * pgd_input_bytes(load->kind);
  return (const unsigned char*)load->inputs + (size_t)(index % load->rows) * bytes;
}

static bool good(const struct pgd_load* load) {
  return load != NULL && load->inputs != NULL && load->rows > 0 && pgd_input_bytes(load->kind) != 0;
}

int pgd_measure_round_trips(const struct pgd_backend* backend, struct pgd_device* device, const struct pgd_load* load,
                            uint32_t samples, uint32_t batch, uint64_t* ns, uint32_t* cycles) {
  if (backend == NULL || !good(load) || ns == NULL) return PGD_E_INVALID;
  struct pgd_completion c;
  uint64_t row = 0;
  for (uint32_t s = 0; s < samples; ++s) {
    const uint64_t began = now_ns();
    for (uint32_t b = 0; b < batch; ++b, ++row) {
      int result = backend->submit(device, load->slot, load->kind, row_of(load, row), load->count, NULL);
      if (result == PGD_OK) result = backend->wait(device, &c, load->timeout);
      if (result < 0) return result;
      if (c.status != PGD_STATUS_OK) return PGD_E_IO;
    }
    ns[s] = now_ns() - began;
    if (cycles != NULL) cycles[s] = c.cycles;
  }
  return PGD_OK;
}

int pgd_measure_stream(const struct pgd_backend* backend, struct pgd_device* device, const struct pgd_load* load,
                       uint64_t requests, uint64_t* ns) {
  if (backend == NULL || !good(load) || ns == NULL) return PGD_E_INVALID;
  struct pgd_completion c;
  const uint64_t began = now_ns();
  for (uint64_t sent = 0, answered = 0; answered < requests;) {
    int result = PGD_E_WOULD_BLOCK;
    if (sent < requests) {
      result = backend->submit(device, load->slot, load->kind, row_of(load, sent), load->count, NULL);
      sent += result == PGD_OK;
    }
    if (result == PGD_E_WOULD_BLOCK) {
      result = backend->wait(device, &c, load->timeout);
      if (result == 1 && c.status != PGD_STATUS_OK) return PGD_E_IO;
      answered += result == 1;
    }
    if (result < 0) return result;
  }
  *ns = now_ns() - began;
  return PGD_OK;
}

int pgd_measure_kernel(const struct pgd_kernel* kernel, const struct pgd_policy* policy, const struct pgd_load* load,
                       uint32_t samples, uint32_t batch, uint64_t* ns) {
  if (kernel == NULL || policy == NULL || !good(load) || ns == NULL) return PGD_E_INVALID;
  void* network = kernel->make(policy, NULL);
  if (network == NULL) return PGD_E_LIMIT;
  const uint32_t outputs = policy->layer[policy->n_layers - 1].outputs;
  int32_t logits[PGD_MAX_OUTPUTS];
  volatile uint32_t sink = 0;  // so that no call is left out
  uint64_t row = 0;
  for (uint32_t s = 0; s < samples; ++s) {
    const uint64_t began = now_ns();
    for (uint32_t b = 0; b < batch; ++b, ++row) {
      kernel->infer(network, load->kind, row_of(load, row), logits);
      uint32_t best = 0;
      for (uint32_t i = 1; i < outputs; ++i) best = logits[i] > logits[best] ? i : best;
      sink = best;
    }
    ns[s] = now_ns() - began;
  }
  (void)sink;
  kernel->free(network);
  return PGD_OK;
}
