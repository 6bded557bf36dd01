// Results, statuses and reasons as words.
#include <stdio.h>

#include "core/common.h"

static const struct {
  int result;
  const char* name;
  const char* text;
} kResults[] = {
    {PGD_OK, "ok", "good"},
    {PGD_E_INVALID, "invalid", "an argument is outside what this function takes"},
    {PGD_E_WOULD_BLOCK, "would_block", "as many requests are in flight as fit: poll, then try again"},
    {PGD_E_TIMEOUT, "timeout", "the deadline passed; the request is still in flight"},
    {PGD_E_EMPTY, "empty", "nothing is in flight: there is nothing to wait for"},
    {PGD_E_NO_POLICY, "no_policy", "no bank answers: load a policy and swap to it first"},
    {PGD_E_STATE, "state", "not now: the bank is the answering one, or was not loaded in this epoch"},
    {PGD_E_NOT_FOUND, "not_found", "no request in flight has this tag"},
    {PGD_E_LIMIT, "limit", "the network is larger than the device takes, or breaks a rule of the format"},
    {PGD_E_UNSUPPORTED, "unsupported", "this backend or core has no such thing"},
    {PGD_E_CRC, "crc", "the device's weight memory does not hold what was sent: load again"},
    {PGD_E_CORRUPT, "corrupt", "a completion failed its CRC-32"},
    {PGD_E_MISMATCH, "mismatch", "not this device, or gateware made from another register map"},
    {PGD_E_UNAVAILABLE, "unavailable", "no such device here"},
    {PGD_E_PERMISSION, "permission", "there, but not for this user"},
    {PGD_E_BUSY, "busy", "there, but open elsewhere"},
    {PGD_E_MEMORY, "memory", "memory could not be had, locked or mapped"},
    {PGD_E_IO, "io", "the device answers nothing any more, or the kernel refused a step"},
};

static const char* const kStatuses[] = {"ok",          "no_policy", "bad_kind", "bad_count", "bad_line", "bad_descriptor",
                                        "stale_epoch", "cancelled", "parity",   "dma_error", "disabled"};
static_assert(sizeof kStatuses / sizeof kStatuses[0] == PGD_STATUS_DISABLED + 1u, "a name for each status");

const char* pgd_result_name(int result) {
  for (size_t i = 0; i < sizeof kResults / sizeof kResults[0]; ++i) {
    if (kResults[i].result == result) return kResults[i].name;
  }
  return "unknown";
}

const char* pgd_result_text(int result) {
  for (size_t i = 0; i < sizeof kResults / sizeof kResults[0]; ++i) {
    if (kResults[i].result == result) return kResults[i].text;
  }
  return "no result of device.h";
}

const char* pgd_status_name(uint32_t status) {
  return status < sizeof kStatuses / sizeof kStatuses[0] ? kStatuses[status] : "unknown";
}

int pgd_refuse(int result, struct pgd_reason* reason, const char* hint, const char* found, ...) {
  if (reason == NULL) return result;
  va_list args;
  va_start(args, found);
  vsnprintf(reason->found, sizeof reason->found, found, args);
  va_end(args);
  snprintf(reason->hint, sizeof reason->hint, "%s", hint);
  return result;
}
