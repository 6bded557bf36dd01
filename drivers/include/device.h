// A device that answers int8 policies, as a C11 function table. One table a backend; one conformance suite over all.
//
//   const struct pgd_backend* b = pgd_backend_by_name("cpu");
//   b->open(&options, &device, &reason)  ->  load_policy(bank 0)  ->  swap(bank 0)  ->  submit ... poll ...  ->  close
//
// Layouts and registers stand in device_registers.h (made from hdl/peregrine_hdl/registers.py) and in
// docs/formats-device.md; how to read the drivers, and a small application, in docs/guide/driver.md.
//
// Rules for every function of the table
//   Threads     one handle, one thread at a time; different handles are independent. Nothing here takes a lock.
//   Memory      all of it is taken in open and given back in close. submit, poll, wait, cancel and stats allocate
//               nothing, lock nothing and make no system call (wait reads the clock; nothing sleeps).
//   Ownership   what a caller passes in is read before the call returns and never kept. What a call fills in is the
//               caller's. Strings that are given back live as long as the program.
//   Results     0 or positive: good. Negative: one of PGD_E_*; nothing was changed unless the function says otherwise.
//   Bytes       little-endian hosts only.
//
// States      open -> [load_policy -> swap] -> answering.  reset and a new epoch take it back to just opened: no bank
//             is loaded, nothing is in flight. A baked core (caps.banks == 0) answers from open on.
#ifndef PEREGRINE_DEVICE_H
#define PEREGRINE_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "device_registers.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PGD_ABI_VERSION 1

// ---- results -------------------------------------------------------------------------------------------------------

#define PGD_OK 0
#define PGD_E_INVALID -1       // an argument is outside what this function takes
#define PGD_E_WOULD_BLOCK -2   // as many requests are in flight as fit: poll, then try again
#define PGD_E_TIMEOUT -3       // the deadline passed; the request is still in flight
#define PGD_E_EMPTY -4         // nothing is in flight: there is nothing to wait for
#define PGD_E_NO_POLICY -5     // no bank answers: load_policy and swap first
#define PGD_E_STATE -6         // not now: the bank is the answering one, or was not loaded in this epoch
#define PGD_E_NOT_FOUND -7     // no request in flight has this tag
#define PGD_E_LIMIT -8         // the network is larger than caps say, or breaks a rule of docs/formats-policy.md
#define PGD_E_UNSUPPORTED -9   // this backend or core has no such thing
#define PGD_E_CRC -10          // the device's weight memory does not hold what was sent: load again
#define PGD_E_CORRUPT -11      // a completion failed its CRC-32; which request it answered is not known
#define PGD_E_MISMATCH -12     // not this device, or gateware made from another register map
#define PGD_E_UNAVAILABLE -13  // no such device here; the reason says what is missing, and the fix
#define PGD_E_PERMISSION -14   // there, but not for this user
#define PGD_E_BUSY -15         // there, but open elsewhere
#define PGD_E_MEMORY -16       // memory could not be had, locked or mapped
#define PGD_E_IO -17           // the device answers nothing any more, or the kernel refused a step

// The name of a result, e.g. "would_block"; "unknown" for a number that is none.
const char* pgd_result_name(int result);
// What it means, as a sentence.
const char* pgd_result_text(int result);
// The name of a completion's status, e.g. "stale_epoch"; "unknown" for a number that is none.
const char* pgd_status_name(uint32_t status);

// Why something could not be done: what was found, and what to do about it. Both end with a 0; "" when good.
struct pgd_reason {
  char found[256];
  char hint[256];
};

// ---- policies ------------------------------------------------------------------------------------------------------

// One layer: acc = sum w*x + bias; y = sat8((acc + (1 << (shift-1))) >> shift), then max(y, 0) with relu.
struct pgd_layer {
  uint32_t inputs;        // of the layer before, or of the network
  uint32_t outputs;       // 1..caps.max_width, of the last layer 1..caps.max_outputs
  uint32_t relu;          // 0 or 1; 0 in the last layer
  const int8_t* weights;  // [outputs][inputs]
  const int32_t* bias;    // [outputs]; 128 * sum|w| + |bias| + half < 2^24 for each output
  const uint8_t* shift;   // [outputs], 1..24; NULL in the last layer, whose sums are the logits
};

// A network. Input i of a request of kind features is quantised: sat8((f*m + half) >> s), half = s ? 1 << (s-1) : 0.
struct pgd_policy {
  uint32_t n_inputs;       // 1..caps.max_inputs
  uint32_t n_layers;       // 1..caps.max_layers
  const int16_t* quant_m;  // [n_inputs]
  const uint8_t* quant_s;  // [n_inputs], 0..46
  const struct pgd_layer* layer;
};

// What a bank holds: policy k answers requests for slot k.
struct pgd_policy_set {
  uint64_t version;     // the caller's name for it; comes back in every completion
  uint32_t n_policies;  // 1..caps.slots
  const struct pgd_policy* policy;
};

// ---- opening -------------------------------------------------------------------------------------------------------

#define PGD_TRANSPORT_AUTO 0   // push where the device has slots, else ring
#define PGD_TRANSPORT_PUSH 1   // lines are stored into the device's window: the shortest way
#define PGD_TRANSPORT_RING 2   // descriptors in host memory and a doorbell: more in flight

struct pgd_kernel;  // device_kernel.h: the arithmetic the cpu backend runs
struct pgd_sys;     // drivers/vfio/sys.h: the kernel as the vfio backend sees it; tests give their own

// Zero is the default of every member.
struct pgd_options {
  uint32_t transport;               // PGD_TRANSPORT_*; cpu: ignored
  uint32_t ring_log2;               // requests in flight by ring and cpu: 1 << ring_log2, 1..10; 0 = 6
  uint32_t cycles_per_poll;         // sim: clock cycles each poll gives the device; 0 = 16
  uint32_t epoch;                   // of the first requests, below 0xFFFFFFFF; 0 = 1
  const char* address;              // vfio: PCI address, e.g. 0000:65:00.0
  const struct pgd_kernel* kernel;  // cpu: wanted
  const struct pgd_sys* sys;        // vfio: NULL = the kernel itself
};

#define PGD_CAP_EXCLUSIVE 1u   // open is refused with PGD_E_BUSY while another handle has the device
#define PGD_CAP_INTERRUPTS 2u  // arm works
#define PGD_CAP_REGISTERS 4u   // read_register works

#define PGD_TIME_NS 0      // wait's timeout counts nanoseconds
#define PGD_TIME_CYCLES 1  // wait's timeout counts the device's bus clock cycles: the same in every run

struct pgd_caps {
  char backend[16];        // its name
  char detail[64];         // cpu: the kernel; vfio: the PCI address and way; sim: the design
  uint32_t flags;          // PGD_CAP_*
  uint32_t time_unit;      // PGD_TIME_*
  uint32_t transport;      // the one in use; 0 = none (cpu)
  uint32_t in_flight;      // most requests in flight
  uint32_t variant;        // 0 = baked, 1 = loadable
  uint32_t slots;          // policies a bank holds
  uint32_t banks;          // weight banks; 0 = baked
  uint32_t lanes;          // products a cycle; 0 = fully unrolled, or no hardware
  uint32_t max_inputs;
  uint32_t max_width;
  uint32_t max_layers;
  uint32_t max_outputs;
  uint32_t bank_words;      // 32-bit words of a bank's image at most; 0 = none are sent
  uint32_t core_clock_khz;  // 0 = no clock of its own
  uint32_t map_hash;        // of the registers; PGD_MAP_HASH
};

// Since open; reset does not clear them. What only hardware counts is 0 elsewhere.
struct pgd_stats {
  uint64_t submitted;
  uint64_t answered;     // completions given to the caller, whatever their status
  uint64_t rejected;     // of these, status neither ok nor cancelled
  uint64_t cancelled;    // of these, status cancelled
  uint64_t would_block;  // submits refused because everything was in flight
  uint64_t timeouts;     // waits that ran out
  uint64_t stale;        // completions dropped: their tag is of no request in flight
  uint64_t corrupt;      // completions dropped: CRC-32
  uint64_t resets;
  uint64_t swaps;
  uint64_t interrupts;
  uint32_t in_flight;     // now
  uint32_t epoch;         // now
  uint32_t errors;        // the sticky errors register; reading it here does not clear it
  uint32_t last_cycles;   // core cycles of the last answer
  uint32_t max_cycles;    // most since reset
  uint32_t parity_count;  // parity errors since reset
};

// Opaque: each backend has its own.
struct pgd_device;

struct pgd_backend {
  uint32_t abi_version;  // PGD_ABI_VERSION; look at it before anything behind it
  uint32_t bytes;        // sizeof(struct pgd_backend)
  const char* name;      // "cpu", "vfio", "sim"

  // Could open work? Opens nothing that lasts. PGD_OK, or the error and reason that open would give as far as can be
  // seen. Takes up to milliseconds.
  int (*probe)(const struct pgd_options* options, struct pgd_reason* reason);

  // Takes the device, resets it, checks its register map, sets up its rings, starts an epoch. Allocates; may take a
  // second (a PCI function reset). On an error *device is NULL, everything is given back, and reason says the fix.
  // reason may be NULL.
  int (*open)(const struct pgd_options* options, struct pgd_device** device, struct pgd_reason* reason);

  // What it can do. Always good after open; the same until close.
  int (*caps)(struct pgd_device* device, struct pgd_caps* caps);

  // Sends a set of policies to a bank that is not the answering one. The device answers with the CRC-32 of what its
  // memory took, and that is compared here. Requests may be in flight. Cold: milliseconds over PCIe. reason may be NULL.
  // INVALID, LIMIT (reason names layer and channel), STATE (the answering bank), CRC, UNSUPPORTED (baked). After CRC no
  // bank counts as loaded.
  int (*load_policy)(struct pgd_device* device, uint32_t bank, const struct pgd_policy_set* set,
                     struct pgd_reason* reason);

  // From the next request on this bank answers; a request in flight is answered by the old or the new one, and its
  // policy_version says by which. It must be the bank that load_policy was last called for, in this epoch, and not
  // swapped to since: else STATE; for the bank that answers already OK, and nothing happens. So going back to an older
  // set means loading it again. Waits for the request in the core (microseconds); TIMEOUT when that never ends. CRC when
  // the device's own check refuses: the old bank goes on.
  int (*swap)(struct pgd_device* device, uint32_t bank);

  // One request. inputs: `count` int8 (kind int8) or int32 (kind features) values, count of the policy's inputs.
  // *tag (may be NULL) names it: epoch in the high word. Slots, kinds and counts that the policy does not have are
  // refused by the device in the completion's status; INVALID is for what no device could take (slot >= caps.slots,
  // kind unknown, count 0 or above caps.max_inputs). WOULD_BLOCK, NO_POLICY.
  // Latency: cpu tens of ns; push 1 to 5 posted 64-byte stores; ring as many plus a doorbell. Never a read over the bus.
  int (*submit)(struct pgd_device* device, uint32_t slot, uint32_t kind, const void* inputs, uint32_t count,
                uint64_t* tag);

  // 1: *completion holds an answer, checked (CRC, epoch, of a request in flight, and given once). 0: none yet.
  // Answers of one slot of a bank come in the order of submit unless one is cancelled or refused. What does not belong
  // here is dropped and counted. CORRUPT once for each bad one: its request stays in flight until reset.
  // Latency: a load from host memory; cpu: the inference itself. sim: gives the device cycles_per_poll cycles.
  // crc and phase are as the device wrote them, 0 from cpu.
  int (*poll)(struct pgd_device* device, struct pgd_completion* completion);

  // poll until an answer, or until `timeout` (caps.time_unit) has passed: TIMEOUT. EMPTY when nothing is in flight.
  // 0 polls once. Spins.
  int (*wait)(struct pgd_device* device, struct pgd_completion* completion, uint64_t timeout);

  // Asks that a request not be computed. Its completion comes all the same: status cancelled, or its answer when it was
  // too late. NOT_FOUND: no request in flight has this tag. Latency: two posted writes.
  int (*cancel)(struct pgd_device* device, uint64_t tag);

  // Forgets everything in flight and all banks and starts the next epoch: no answer to an older tag is ever given.
  // IO when the device does not come back within a second. Cold.
  int (*reset)(struct pgd_device* device);

  // Counters. Reads registers over the bus where there are any: microseconds, not for the hot path.
  int (*stats)(struct pgd_device* device, struct pgd_stats* stats);

  // One interrupt when an answer is or becomes unread. *fd (owned by the device, an eventfd: wait with poll(2), then
  // read 8 bytes) stays the same until close. UNSUPPORTED without PGD_CAP_INTERRUPTS.
  int (*arm)(struct pgd_device* device, int* fd);

  // A 32-bit register by its offset (PGD_REG_*), for tools. UNSUPPORTED without PGD_CAP_REGISTERS.
  int (*read_register)(struct pgd_device* device, uint32_t offset, uint32_t* value);

  // Stops the device, whatever is in flight, and gives everything back. NULL is good.
  void (*close)(struct pgd_device* device);
};

// ---- backends ------------------------------------------------------------------------------------------------------

// The table of a backend of this build: "cpu" or "vfio". NULL: no such.
const struct pgd_backend* pgd_backend_by_name(const char* name);

// The table in a shared library that exports `pgd_library_backend` (sim is one; it is built on demand). The library
// stays loaded. NULL: reason says why.
const struct pgd_backend* pgd_backend_load(const char* path, struct pgd_reason* reason);

// The image of a set as a loadable core of these caps takes it: up to `capacity` words. *n_words and *crc (CRC-32, zlib,
// of the words' bytes) may be NULL. INVALID, LIMIT (reason), MEMORY (capacity too small). Allocates nothing.
int pgd_image_pack(const struct pgd_policy_set* set, const struct pgd_caps* caps, uint32_t* words, uint32_t capacity,
                   uint32_t* n_words, uint32_t* crc, struct pgd_reason* reason);

// CRC-32 as zlib has it, continued from `crc` (0 to begin).
uint32_t pgd_crc32(uint32_t crc, const void* data, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
