// The smallest application of device.h: one network of two inputs and three actions, one question, one answer.
//
//   app [PCI address]     with an address the card answers, else the CPU
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "device_kernel.h"

static const int8_t kWeights[3][2] = {{1, 0}, {0, 1}, {-1, -1}};
static const int32_t kBias[3] = {0, 0, 10};
static const int16_t kQuantM[2] = {1, 1};
static const uint8_t kQuantS[2] = {0, 0};

static int fail(const char* what, int result, const struct pgd_reason* reason) {
  fprintf(stderr, "%s: %s: %s\n", what, pgd_result_name(result), reason->found[0] ? reason->found : pgd_result_text(result));
  if (reason->hint[0]) fprintf(stderr, "hint: %s\n", reason->hint);
  return 1;
}

int main(int argc, char** argv) {
  const struct pgd_backend* backend = pgd_backend_by_name(argc > 1 ? "vfio" : "cpu");
  struct pgd_options options;
  memset(&options, 0, sizeof options);  // zero is the default of everything
  options.address = argc > 1 ? argv[1] : NULL;
  options.kernel = peregrine_device_kernel(NULL);

  struct pgd_device* device = NULL;
  struct pgd_reason reason = {"", ""};
  int result = backend->open(&options, &device, &reason);
  if (result != PGD_OK) return fail("open", result, &reason);

  const struct pgd_layer layer = {2, 3, 0, &kWeights[0][0], kBias, NULL};
  const struct pgd_policy policy = {2, 1, kQuantM, kQuantS, &layer};
  const struct pgd_policy_set set = {1, 1, &policy};
  result = backend->load_policy(device, 0, &set, &reason);
  if (result == PGD_OK) result = backend->swap(device, 0);

  const int32_t features[2] = {3, 7};
  struct pgd_completion answer;
  memset(&answer, 0, sizeof answer);
  uint64_t tag = 0;
  if (result == PGD_OK) result = backend->submit(device, 0, PGD_KIND_FEATURES, features, 2, &tag);
  if (result == PGD_OK) result = backend->wait(device, &answer, 1000000);
  if (result < 0) fail("ask", result, &reason);
  if (result == 1) {
    printf("tag %llu: %s, action %u of logits %d %d %d\n", (unsigned long long)tag, pgd_status_name(answer.status),
           answer.action, answer.logits[0], answer.logits[1], answer.logits[2]);
  }
  backend->close(device);
  return result == 1 && answer.tag == tag ? 0 : 1;
}
