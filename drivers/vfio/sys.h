// The kernel and the bus as the vfio backend sees them: one table, so that a test can stand in for both.
//
// Every function takes `context` first. Those that can fail give 0 or more, or -errno. pgd_linux is the real one.
#ifndef PEREGRINE_DRIVERS_SYS_H
#define PEREGRINE_DRIVERS_SYS_H

#include <stddef.h>
#include <stdint.h>

struct pgd_sys {
  void* context;
  int (*open)(void* context, const char* path, int flags);
  int (*close)(void* context, int fd);
  // `argument` is a pointer, or an integer cast to one, as the request has it
  int (*ioctl)(void* context, int fd, unsigned long request, void* argument);
  int (*mmap)(void* context, size_t bytes, int protection, int flags, int fd, uint64_t offset, void** out);
  int (*munmap)(void* context, void* at, size_t bytes);
  int (*mlock)(void* context, void* at, size_t bytes);
  int64_t (*pread)(void* context, int fd, void* out, size_t bytes, uint64_t offset);
  int64_t (*pwrite)(void* context, int fd, const void* from, size_t bytes, uint64_t offset);
  int (*eventfd)(void* context, unsigned initial, int flags);
  // the last part of a link's target, with a 0 behind it
  int (*link_name)(void* context, const char* path, char* out, size_t bytes);
  // the first entry of a folder that begins with `prefix`, with a 0 behind it; -ENOENT: none
  int (*first_entry)(void* context, const char* folder, const char* prefix, char* out, size_t bytes);
  uint64_t (*now_ns)(void* context);
  // A device's window: 32-bit registers; 8-byte stores; a whole line at once (64-byte aligned), where `line_store` is 1.
  uint32_t (*read32)(void* context, const volatile void* at);
  void (*write32)(void* context, volatile void* at, uint32_t value);
  void (*write64)(void* context, volatile void* at, uint64_t value);
  void (*write_line)(void* context, volatile void* at, const void* line);
  int (*line_store)(void* context);
};

extern const struct pgd_sys pgd_linux;

#endif
