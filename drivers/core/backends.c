// Which backends there are, and how one comes out of a shared library.
#include <dlfcn.h>

#include "cpu/cpu.h"
#include "vfio/vfio.h"
#include "core/common.h"

const struct pgd_backend* pgd_backend_by_name(const char* name) {
  const struct pgd_backend* const all[] = {&pgd_cpu_backend, &pgd_vfio_backend};
  for (size_t i = 0; name != NULL && i < sizeof all / sizeof all[0]; ++i) {
    if (strcmp(all[i]->name, name) == 0) return all[i];
  }
  return NULL;
}

const struct pgd_backend* pgd_backend_load(const char* path, struct pgd_reason* reason) {
  void* library = path != NULL ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (library == NULL) {
    const char* why = path != NULL ? dlerror() : "no path";
    pgd_refuse(PGD_E_UNAVAILABLE, reason, "build it first", "%s", why != NULL ? why : "dlopen failed");
    return NULL;
  }
  const struct pgd_backend* (*table)(void) = NULL;
  void* symbol = dlsym(library, "pgd_library_backend");
  memcpy(&table, &symbol, sizeof table);  // C has no cast from an object's pointer to a function's
  const struct pgd_backend* backend = table != NULL ? table() : NULL;
  if (backend == NULL || backend->abi_version != PGD_ABI_VERSION || backend->bytes != sizeof *backend) {
    pgd_refuse(PGD_E_MISMATCH, reason, "build it again with this version",
               backend == NULL ? "%s: no pgd_library_backend in it" : "%s: made for another device.h", path);
    dlclose(library);
    return NULL;
  }
  return backend;
}
