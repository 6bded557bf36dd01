/* A wall clock that can be stepped for one process tree: preloaded, it adds an offset to CLOCK_REALTIME and to nothing else.
 *
 *   PEREGRINE_CLOCK_FILE   0            8            16
 *                          +------------+------------+
 *                          | offset, ns | how often  |    int64 each, shared; the offset is written by the tool, the
 *                          +------------+------------+    count here, so that a test knows that it was asked at all
 *
 * clock_gettime, gettimeofday, time and timespec_get are all the ways to the wall clock that libc has; a caller that goes
 * to the vdso or the kernel itself is not reached. CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW and the time stamp counter are as
 * they are: a real step does not touch them either. A wait until a moment of the wall clock is handed to the kernel as the
 * moment of its own clock, else it would be late by the offset.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000LL
#define EPOCH_LIKE 1000000000LL /* seconds: more than any uptime, so a moment of the wall clock */

static int64_t none[2];
static volatile int64_t* words = none;
static int (*real_gettime)(clockid_t, struct timespec*);
static int (*real_cond)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*);
static int (*real_sem)(sem_t*, const struct timespec*);

__attribute__((constructor)) static void begin(void) {
  const char* path = getenv("PEREGRINE_CLOCK_FILE");
  const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* at = mmap(0, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at != MAP_FAILED) words = at;
}

static void* next(const char* name) { return dlsym(RTLD_NEXT, name); }

static void add(struct timespec* t, int64_t ns) {
  int64_t nsec = t->tv_nsec + ns % NS;
  t->tv_sec += ns / NS;
  if (nsec < 0) nsec += NS, --t->tv_sec;
  if (nsec >= NS) nsec -= NS, ++t->tv_sec;
  t->tv_nsec = nsec;
}

int clock_gettime(clockid_t id, struct timespec* t) {
  if (!real_gettime) real_gettime = next("clock_gettime");
  const int rc = real_gettime(id, t);
  if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
    add(t, __atomic_load_n(&words[0], __ATOMIC_RELAXED));
    __atomic_fetch_add(&words[1], 1, __ATOMIC_RELAXED);
  }
  return rc;
}

int gettimeofday(struct timeval* tv, void* zone) {
  (void)zone;
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  tv->tv_sec = t.tv_sec;
  tv->tv_usec = t.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (out) *out = t.tv_sec;
  return t.tv_sec;
}

int timespec_get(struct timespec* t, int base) {
  return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, t) == 0 ? base : 0;
}

static const struct timespec* kernels(const struct timespec* until, struct timespec* own) {
  if (until->tv_sec < EPOCH_LIKE) return until;
  *own = *until;
  add(own, -__atomic_load_n(&words[0], __ATOMIC_RELAXED));
  return own;
}

int pthread_cond_timedwait(pthread_cond_t* c, pthread_mutex_t* m, const struct timespec* until) {
  struct timespec own;
  if (!real_cond) real_cond = next("pthread_cond_timedwait");
  return real_cond(c, m, kernels(until, &own));
}

int sem_timedwait(sem_t* s, const struct timespec* until) {
  struct timespec own;
  if (!real_sem) real_sem = next("sem_timedwait");
  return real_sem(s, kernels(until, &own));
}
