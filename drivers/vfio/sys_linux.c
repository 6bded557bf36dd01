// struct pgd_sys on Linux.
#include "vfio/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static int result_of(long value) { return value < 0 ? -errno : (int)value; }

static int linux_open(void* context, const char* path, int flags) { return result_of(open(path, flags)); }
static int linux_close(void* context, int fd) { return result_of(close(fd)); }
static int linux_ioctl(void* context, int fd, unsigned long request, void* argument) {
  return result_of(ioctl(fd, request, argument));
}

static int linux_mmap(void* context, size_t bytes, int protection, int flags, int fd, uint64_t offset, void** out) {
  void* at = mmap(NULL, bytes, protection, flags, fd, (off_t)offset);
  if (at == MAP_FAILED) return -errno;
  *out = at;
  return 0;
}

static int linux_munmap(void* context, void* at, size_t bytes) { return result_of(munmap(at, bytes)); }
static int linux_mlock(void* context, void* at, size_t bytes) { return result_of(mlock(at, bytes)); }

static int64_t linux_pread(void* context, int fd, void* out, size_t bytes, uint64_t offset) {
  const ssize_t n = pread(fd, out, bytes, (off_t)offset);
  return n < 0 ? -errno : n;
}

static int64_t linux_pwrite(void* context, int fd, const void* from, size_t bytes, uint64_t offset) {
  const ssize_t n = pwrite(fd, from, bytes, (off_t)offset);
  return n < 0 ? -errno : n;
}

static int linux_eventfd(void* context, unsigned initial, int flags) { return result_of(eventfd(initial, flags)); }

static int linux_link_name(void* context, const char* path, char* out, size_t bytes) {
  char target[512];
  const ssize_t n = readlink(path, target, sizeof target - 1);
  if (n < 0) return -errno;
  target[n] = 0;
  const char* slash = strrchr(target, '/');
  const char* name = slash != NULL ? slash + 1 : target;
  if (strlen(name) >= bytes) return -ENAMETOOLONG;
  memcpy(out, name, strlen(name) + 1);
  return 0;
}

static int linux_first_entry(void* context, const char* folder, const char* prefix, char* out, size_t bytes) {
  DIR* dir = opendir(folder);
  if (dir == NULL) return -errno;
  int result = -ENOENT;
  for (const struct dirent* entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
    const char* name = entry->d_name;
    if (name[0] == '.' || strncmp(name, prefix, strlen(prefix)) != 0 || strlen(name) >= bytes) continue;
    memcpy(out, name, strlen(name) + 1);
    result = 0;
    break;
  }
  closedir(dir);
  return result;
}

static uint64_t linux_now_ns(void* context) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// Memory before a write to the device, and a read of it before memory: x86 keeps both by itself for a window that is
// mapped uncached, arm64 wants to be told, and about the outer domain.
#if defined(__aarch64__)
#define BEFORE_WRITE() __asm__ volatile("dmb oshst" : : : "memory")
#define AFTER_READ() __asm__ volatile("dmb oshld" : : : "memory")
#else
#define BEFORE_WRITE() __asm__ volatile("" : : : "memory")
#define AFTER_READ() __asm__ volatile("" : : : "memory")
#endif

static uint32_t linux_read32(void* context, const volatile void* at) {
  const uint32_t value = *(const volatile uint32_t*)at;
  AFTER_READ();
  return value;
}
static void linux_write32(void* context, volatile void* at, uint32_t value) {
  BEFORE_WRITE();
  *(volatile uint32_t*)at = value;
}
static void linux_write64(void* context, volatile void* at, uint64_t value) { *(volatile uint64_t*)at = value; }

#if defined(__x86_64__)
// MOVDIR64B r64, m512: 66 0F 38 F8 /r, as bytes so that no assembler need know it. One 64-byte write on the bus; weakly
// ordered, so a fence follows it.
static void linux_write_line(void* context, volatile void* at, const void* line) {
  __asm__ volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x02\n\tsfence" : : "a"(at), "d"(line) : "memory");
}
static int linux_line_store(void* context) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && ((ecx >> 28) & 1u) != 0;
}
#else
static void linux_write_line(void* context, volatile void* at, const void* line) { abort(); }  // line_store says 0
static int linux_line_store(void* context) { return 0; }
#endif

const struct pgd_sys pgd_linux = {
    .open = linux_open, .close = linux_close, .ioctl = linux_ioctl, .mmap = linux_mmap, .munmap = linux_munmap,
    .mlock = linux_mlock, .pread = linux_pread, .pwrite = linux_pwrite, .eventfd = linux_eventfd,
    .link_name = linux_link_name, .first_entry = linux_first_entry, .now_ns = linux_now_ns, .read32 = linux_read32,
    .write32 = linux_write32, .write64 = linux_write64, .write_line = linux_write_line, .line_store = linux_line_store,
};
