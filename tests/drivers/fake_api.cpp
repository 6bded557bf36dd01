// The fake kernel and its device for Python (ctypes).
#include <cstring>
#include <string>

#include "fake_kernel.h"

extern "C" {
#include "vfio/iova.h"
}

using fake::FakeKernel;

namespace {

FakeKernel& of(void* handle) { return *static_cast<FakeKernel*>(handle); }

}  // namespace

extern "C" {

void* fake_new(int iommufd, int line_store) { return new FakeKernel(iommufd != 0, line_store != 0); }
void fake_free(void* handle) { delete static_cast<FakeKernel*>(handle); }
const void* fake_sys(void* handle) { return of(handle).sys(); }

// What this machine lacks from now on ("iommu", "vfio-pci", "memlock", "permission /dev/vfio/12", ...).
void fake_lack(void* handle, const char* what) { of(handle).missing.insert(what); }

// A fault of the device, or its setting, by name. Returns 0 when there is no such.
int fake_set(void* handle, const char* name, std::uint64_t value) {
  fake::DeviceModel& m = of(handle).model;
  const std::string n = name;
  if (n == "hold") m.hold = value != 0;
  else if (n == "mute") m.mute = value != 0;
  else if (n == "gone") m.gone = value != 0;
  else if (n == "parity") m.parity_fault = value != 0;
  else if (n == "flip_image_word") m.flip_image_word = static_cast<unsigned>(value);
  else if (n == "flip_completion") m.flip_completion = static_cast<unsigned>(value);
  else if (n == "replay_tag") m.replay_tag = value;
  else if (n == "bank_capacity") m.bank_capacity = static_cast<unsigned>(value);
  else if (n == "push_slots") m.push_slots = static_cast<unsigned>(value);
  else if (n == "id") m.id = static_cast<unsigned>(value);
  else if (n == "map_hash") m.map_hash = static_cast<unsigned>(value);
  else return 0;
  m.service();
  return 1;
}

// Calls of the kernel itself so far: not the windows, not the clock.
std::uint64_t fake_kernel_calls(void* handle) { return of(handle).kernel_calls(); }

int fake_mutants() { return static_cast<int>(fake::mutants().size()); }
const char* fake_mutant_name(int index) { return fake::mutants()[static_cast<std::size_t>(index)].name; }
void fake_mutate(void* handle, int index) { of(handle).mutant = &fake::mutants()[static_cast<std::size_t>(index)]; }

// Breaches so far, a line each; with `closed` also what should have been given back by now. Valid until the next call.
const char* fake_breaches(void* handle, int closed) {
  static thread_local std::string text;
  if (closed != 0) of(handle).check_closed();
  text.clear();
  for (const std::string& b : of(handle).breaches) text += b + "\n";
  return text.c_str();
}

// The driver's allocator of device addresses over `n` allowed ranges (start, last); none: its default.
void* fake_iova_new(const std::uint64_t* ranges, int n) {
  auto* iova = new pgd_iova{};
  for (int i = 0; i < n; ++i) pgd_iova_allow(iova, ranges[2 * i], ranges[2 * i + 1]);
  if (n == 0) pgd_iova_default(iova);
  return iova;
}
std::uint64_t fake_iova_take(void* iova, std::uint64_t bytes) { return pgd_iova_take(static_cast<pgd_iova*>(iova), bytes); }
void fake_iova_give(void* iova, std::uint64_t start) { pgd_iova_give(static_cast<pgd_iova*>(iova), start); }
void fake_iova_free(void* iova) { delete static_cast<pgd_iova*>(iova); }

}  // extern "C"
