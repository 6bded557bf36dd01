// The engine's side of a device: one thread asks while another loads banks, policies are swapped under it, and the
// device hangs, loses answers and goes away. Every answer that counts must be that of the policies in force.
// Returns nonzero with a message on the first that is not.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "core/rng.h"
#include "engine/device_client.h"

using namespace peregrine;
using engine::DeviceClient;
using engine::DeviceReply;
using engine::Shard;
using journal::DeviceOutcome;

namespace {

#define CHECK(x) \
  do { \
    if (!(x)) std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), std::exit(1); \
  } while (0)

constexpr u32 kActions = 5, kInputs = 3;

// A device of constant networks: logits are the biases. Plain members: the sanitizer sees who touches them.
struct Fake {
  i32 bank[2][kActions] = {};
  u64 version[2] = {};
  u32 active = 0;
  bool loaded = false, down = false;
  u64 next_tag = 1, waiting_tag = 0, requests = 0, resets = 0;
};

Fake& of(pgd_device* d) { return *reinterpret_cast<Fake*>(d); }

int caps(pgd_device*, pgd_caps* c) {
  *c = {};
  c->slots = 8;
  c->banks = 2;
  c->max_inputs = 64;
  c->max_width = 128;
  c->max_layers = 6;
  c->max_outputs = 16;
  return PGD_OK;
}
int load_policy(pgd_device* d, u32 bank, const pgd_policy_set* set, pgd_reason*) {
  Fake& f = of(d);
  if (f.down) return PGD_E_IO;
  if (f.loaded && bank == f.active) return PGD_E_STATE;
  std::memcpy(f.bank[bank], set->policy[0].layer[0].bias, sizeof f.bank[bank]);
  f.version[bank] = set->version;
  return PGD_OK;
}
int swap(pgd_device* d, u32 bank) {
  of(d).active = bank;
  of(d).loaded = true;
  return PGD_OK;
}
int submit(pgd_device* d, u32, u32, const void*, u32 n, u64* tag) {
  Fake& f = of(d);
  CHECK(n == kInputs);
  if (f.down) return PGD_E_IO;
  if (++f.requests % 997 == 0) f.down = true;
  *tag = f.next_tag++;
  f.waiting_tag = f.requests % 41 == 0 ? 0 : *tag;  // some are never answered
  return PGD_OK;
}
int poll(pgd_device* d, pgd_completion* c) {
  Fake& f = of(d);
  if (f.down) return PGD_E_IO;
  if (f.waiting_tag == 0) return 0;
  *c = {};
  c->tag = f.waiting_tag;
  f.waiting_tag = 0;
  c->policy_version = f.version[f.active];
  c->outputs = kActions;
  std::memcpy(c->logits, f.bank[f.active], sizeof f.bank[f.active]);
  c->action = static_cast<u8>(Policy::argmax(c->logits, kActions));
  return 1;
}
int cancel(pgd_device*, u64) { return PGD_OK; }
int reset(pgd_device* d) {
  Fake& f = of(d);
  if (++f.resets % 3 == 1) return PGD_E_IO;
  f.down = f.loaded = false;
  f.waiting_tag = 0;
  return PGD_OK;
}

const pgd_backend kBackend{PGD_ABI_VERSION, sizeof(pgd_backend), "fake", nullptr, nullptr, caps, load_policy, swap,
                           submit, poll, nullptr, cancel, reset, nullptr, nullptr, nullptr, nullptr};

Policy constant(i32 first) {
  static const u16 index[kInputs] = {0, 1, 2};
  static const i16 m[kInputs] = {1, 1, 1};
  static const u8 s[kInputs] = {0, 0, 0};
  static const i8 w[kActions * kInputs] = {};
  const i32 bias[kActions] = {first, first + 7, first - 3, first + 2, first};
  PolicySpec spec;
  spec.n_inputs = kInputs;
  spec.feature_index = index;
  spec.quant_m = m;
  spec.quant_s = s;
  spec.n_layers = 1;
  spec.layer[0] = {kInputs, kActions, false, w, bias, nullptr};
  std::memcpy(spec.artifact_hash.bytes, &first, sizeof first);
  PolicyContext context;
  context.n_schema_features = FeatureEngine::kFeatures;
  context.n_actions = kActions;
  Policy p;
  CHECK(Policy::load(spec, context, p).ok);
  return p;
}

}  // namespace

int main() {
  Fake fake;
  const TscClock clock = TscClock::from_kernel();
  engine::DeviceClientConfig config;
  config.deadline = 8;
  config.count_polls = true;
  config.probe_after = 20;
  DeviceClient client(kBackend, reinterpret_cast<pgd_device*>(&fake), config, clock);
  PolicySet set;
  CHECK(set.stage(0, constant(1000)).ok && set.swap(0));
  pgd_reason reason;
  CHECK(client.prepare(set, reason));

  std::atomic<bool> over{false};
  std::thread loader([&] {
    while (!over.load(std::memory_order_acquire)) {
      if (!client.work()) std::this_thread::yield();
    }
  });
  u64 answered = 0, absent = 0;
  i32 at = 1000;
  DeviceReply reply;
  Shard::Ask ask;
  for (u64 n = 1; n <= 60'000; ++n) {
    if (n % 500 == 0) {
      at += 11;
      CHECK(set.stage(0, constant(at)).ok && set.swap(0));
    }
    ask.decision = n;
    if (n % 2 == 0) {
      client.ask(ask, set, reply);
    } else if (client.submit(ask, set, 0, reply)) {
      while (!client.poll(0, reply)) {
      }
    }
    CHECK(reply.head.decision == n);
    if (reply.head.outcome != static_cast<u8>(DeviceOutcome::kAnswered)) {
      CHECK(reply.head.answered == 0 && reply.logit_bytes().empty());
      ++absent;
      if (client.loading()) std::this_thread::yield();
      continue;
    }
    ++answered;
    CHECK(reply.head.policy_version == set.version() && reply.head.answered == 1);
    CHECK(reply.logits[0] == at && reply.logits[1] == at + 7);
  }
  over.store(true, std::memory_order_release);
  loader.join();
  const engine::DeviceClientCounters& c = client.counters();
  CHECK(answered > 1000 && absent > 100 && c.opened > 5 && c.closed > 2 && c.late > 10 && c.broken > 5);
  std::printf("%llu answered, %llu made up for, breaker opened %llu times\n", static_cast<unsigned long long>(answered),
              static_cast<unsigned long long>(absent), static_cast<unsigned long long>(c.opened));
  return 0;
}
