// Making, attaching and removing segments. Cold.
#include "core/shm.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/clock.h"

namespace peregrine {

namespace {

constexpr const char* kFolder = "/dev/shm/";
constexpr const char* kPrefix = "peregrine.";

u64 whole_pages(u64 bytes) { return (bytes + kShmPage - 1) / kShmPage * kShmPage; }

Error check_name(std::string_view name) {
  if (name.empty() || name.size() > 100)
    return Error::make("segment name has %zu characters, expected 1 to 100", name.size());
  for (char c : name) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                      c == '_' || c == '.';
    if (!good)
      return Error::make("segment name '%.*s' may hold letters, digits, '-', '_' and '.' only",
                         static_cast<int>(name.size()), name.data());
  }
  return Error::none();
}

int lock_region(void* at, u64 bytes) {
#if defined(SYS_mlock2)
  if (::syscall(SYS_mlock2, at, bytes, 0) == 0) return 0;
  if (errno != ENOSYS) return errno;
#endif
  return ::mlock(at, bytes) == 0 ? 0 : errno;
}

// Does the name still lead to the file we have open?
bool same_file(int fd, const char* path) {
  struct stat a, b;
  return ::fstat(fd, &a) == 0 && ::stat(path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

// Reads the header of a segment file that may be damaged or half made; false when there is none to speak of.
bool read_header(int fd, ShmHeader& out) {
  return ::pread(fd, &out, sizeof(out), 0) == static_cast<ssize_t>(sizeof(out)) && out.magic == kShmMagic;
}

}  // namespace

Segment::~Segment() { close(); }

Segment::Segment(Segment&& other) noexcept { *this = std::move(other); }

Segment& Segment::operator=(Segment&& other) noexcept {
  if (this != &other) {
    close();
    base_ = std::exchange(other.base_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    fd_ = std::exchange(other.fd_, -1);
    writable_ = std::exchange(other.writable_, false);
    owner_ = std::exchange(other.owner_, false);
    name_ = std::exchange(other.name_, {});
  }
  return *this;
}

std::string Segment::path_of(std::string_view name) {
  return std::string(kFolder) + kPrefix + std::string(name);
}

Error Segment::layout(const std::vector<RegionSpec>& regions, u64& total) {
  if (regions.size() > kShmMaxRegions)
    return Error::make("%zu regions asked for, a segment holds %u", regions.size(), kShmMaxRegions);
  total = sizeof(ShmHeader);
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const RegionSpec& r = regions[i];
    if (r.name.empty() || r.name.size() >= sizeof(ShmRegion::name))
      return Error::make("region name '%s' has %zu characters, expected 1 to 31", r.name.c_str(), r.name.size());
    if (r.bytes == 0 || r.bytes > (u64{1} << 40))
      return Error::make("region '%s' has %llu bytes, expected 1 to 2^40", r.name.c_str(),
                         static_cast<unsigned long long>(r.bytes));
    for (std::size_t k = 0; k < i; ++k)
      if (regions[k].name == r.name) return Error::make("two regions are named '%s'", r.name.c_str());
    total += whole_pages(r.bytes);
  }
  return Error::none();
}

void Segment::fill(const std::vector<RegionSpec>& regions, const SegmentOptions& options, u64 epoch) {
  if (options.prefault)
    for (u64 at = 0; at < bytes_; at += kShmPage) static_cast<volatile u8*>(base_)[at] = 0;
  ShmHeader& h = header();
  const ProcessId me = this_process();
  h.layout_version = kShmLayoutVersion;
  h.header_bytes = sizeof(ShmHeader);
  h.total_bytes = bytes_;
  h.epoch = epoch;
  h.pid = me.pid;
  h.start_ticks = me.start_ticks;
  h.created_ns = wall_ns();
  h.n_regions = static_cast<u32>(regions.size());
  u64 offset = sizeof(ShmHeader);
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const RegionSpec& spec = regions[i];
    ShmRegion& r = h.regions[i];
    std::memcpy(r.name, spec.name.data(), spec.name.size());
    r.offset = offset;
    r.bytes = spec.bytes;
    r.kind = static_cast<u32>(spec.kind);
    r.version = spec.version;
    r.lock = 1;
    if (spec.lock) {
      const int e = lock_region(base_ + offset, whole_pages(spec.bytes));
      r.lock = e == 0 ? 0u : 1000u + static_cast<u32>(e);
    }
    offset += whole_pages(spec.bytes);
  }
  store_release(h.magic, kShmMagic);
}

Error Segment::create_anonymous(const std::vector<RegionSpec>& regions, const SegmentOptions& options, Segment& out) {
  u64 total = 0;
  if (Error e = layout(regions, total); e.failed()) return e;
  void* p = ::mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return Error::make("cannot map %llu bytes: %s", static_cast<unsigned long long>(total), std::strerror(errno));
  out.close();
  out.base_ = static_cast<u8*>(p);
  out.bytes_ = total;
  out.writable_ = out.owner_ = true;
  out.fill(regions, options, options.epoch != 0 ? options.epoch : 1);
  return Error::none();
}

Error Segment::create(std::string_view name, const std::vector<RegionSpec>& regions, const SegmentOptions& options,
                      Segment& out) {
  u64 total = 0;
  if (Error e = check_name(name); e.failed()) return e;
  if (Error e = layout(regions, total); e.failed()) return e;
  const std::string path = path_of(name);
  u64 last_epoch = 0;
  for (int attempt = 0; attempt < 16; ++attempt) {
    const int old = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (old >= 0) {
      // The lock tells a living owner even where its pid cannot be looked up; it is gone with the process.
      if (::flock(old, LOCK_EX | LOCK_NB) != 0) {
        ShmHeader h{};
        const i32 pid = read_header(old, h) ? h.pid : 0;
        ::close(old);
        return Error::make("segment '%.*s' belongs to a running engine (pid %d); hint: stop it first, or use another "
                           "name", static_cast<int>(name.size()), name.data(), pid);
      }
      if (!same_file(old, path.c_str())) {  // somebody else took it over just now
        ::close(old);
        continue;
      }
      ShmHeader h{};
      if (read_header(old, h) && h.layout_version == kShmLayoutVersion) {
        // A child of a dead owner does not hold its lock after exec, so the pid is asked too.
        if (liveness({h.pid, h.start_ticks}) == Liveness::kAlive) {
          ::close(old);
          return Error::make("segment '%.*s' belongs to a running engine (pid %d); hint: stop it first, or use "
                             "another name", static_cast<int>(name.size()), name.data(), h.pid);
        }
        last_epoch = std::max(last_epoch, h.epoch);
      }
      ::unlink(path.c_str());
      ::close(old);
    } else if (errno != ENOENT) {
      return Error::make("cannot open %s: %s", path.c_str(), std::strerror(errno));
    }
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
      if (errno == EEXIST) continue;
      return Error::make("cannot create %s: %s", path.c_str(), std::strerror(errno));
    }
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0 || !same_file(fd, path.c_str())) {
      ::close(fd);
      continue;
    }
    const int full = ::posix_fallocate(fd, 0, static_cast<off_t>(total));
    void* p = full == 0 ? ::mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p == MAP_FAILED) {
      const int why = full != 0 ? full : errno;
      ::unlink(path.c_str());
      ::close(fd);
      return Error::make("cannot get %llu bytes for %s: %s; hint: see how full /dev/shm is",
                         static_cast<unsigned long long>(total), path.c_str(), std::strerror(why));
    }
    out.close();
    out.base_ = static_cast<u8*>(p);
    out.bytes_ = total;
    out.fd_ = fd;
    out.writable_ = out.owner_ = true;
    out.name_ = std::string(name);
    out.fill(regions, options, options.epoch != 0 ? options.epoch : last_epoch + 1);
    return Error::none();
  }
  return Error::make("segment '%.*s' is being taken over by others again and again", static_cast<int>(name.size()),
                     name.data());
}

Error Segment::attach(std::string_view name, Access access, Segment& out) {
  if (Error e = check_name(name); e.failed()) return e;
  const std::string path = path_of(name);
  const bool write = access == Access::kReadWrite;
  const int fd = ::open(path.c_str(), (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT)
      return Error::make("no segment '%.*s' (%s); hint: is the engine running?", static_cast<int>(name.size()),
                         name.data(), path.c_str());
    return Error::make("cannot open %s: %s", path.c_str(), std::strerror(errno));
  }
  struct stat st{};
  ShmHeader h{};
  Error error;
  if (::fstat(fd, &st) != 0) {
    error = Error::make("cannot stat %s: %s", path.c_str(), std::strerror(errno));
  } else if (::pread(fd, &h, sizeof(h), 0) != static_cast<ssize_t>(sizeof(h))) {
    error = Error::make("%s has %lld bytes, a segment header has %zu; hint: it is still being made, or damaged",
                        path.c_str(), static_cast<long long>(st.st_size), sizeof(h));
  } else if (h.magic != kShmMagic) {
    error = Error::make("%s has magic %016llx, expected %016llx; hint: it is still being made, or not ours",
                        path.c_str(), static_cast<unsigned long long>(h.magic),
                        static_cast<unsigned long long>(kShmMagic));
  } else if (h.layout_version != kShmLayoutVersion) {
    error = Error::make("%s has layout version %u, this build reads version %u; hint: use the peregrine that "
                        "started the engine", path.c_str(), h.layout_version, kShmLayoutVersion);
  } else if (h.header_bytes != sizeof(ShmHeader) || h.n_regions > kShmMaxRegions ||
             h.total_bytes < sizeof(ShmHeader) || h.total_bytes > static_cast<u64>(st.st_size)) {
    error = Error::make("%s is damaged: header says %u + %u regions, %llu bytes; the file has %lld", path.c_str(),
                        h.header_bytes, h.n_regions, static_cast<unsigned long long>(h.total_bytes),
                        static_cast<long long>(st.st_size));
  } else {
    for (u32 i = 0; i < h.n_regions && error.ok(); ++i) {
      const ShmRegion& r = h.regions[i];
      if (r.name[31] != '\0' || r.offset % kShmPage != 0 || r.offset < sizeof(ShmHeader) ||
          r.offset > h.total_bytes || r.bytes > h.total_bytes - r.offset)
        error = Error::make("%s is damaged: region %u lies at %llu + %llu of %llu bytes", path.c_str(), i,
                            static_cast<unsigned long long>(r.offset), static_cast<unsigned long long>(r.bytes),
                            static_cast<unsigned long long>(h.total_bytes));
    }
  }
  void* p = MAP_FAILED;
  if (error.ok()) {
    p = ::mmap(nullptr, h.total_bytes, write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) error = Error::make("cannot map %s: %s", path.c_str(), std::strerror(errno));
  }
  if (error.failed()) {
    ::close(fd);
    return error;
  }
  out.close();
  out.base_ = static_cast<u8*>(p);
  out.bytes_ = h.total_bytes;
  out.fd_ = fd;
  out.writable_ = write;
  out.name_ = std::string(name);
  return Error::none();
}

Error Segment::unlink(std::string_view name, bool only_if_dead) {
  if (Error e = check_name(name); e.failed()) return e;
  const std::string path = path_of(name);
  if (only_if_dead) {
    Segment s;
    if (attach(name, Access::kRead, s).ok() && s.owner_liveness() == Liveness::kAlive)
      return Error::make("segment '%.*s' belongs to a running engine (pid %d)", static_cast<int>(name.size()),
                         name.data(), s.header().pid);
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return Error::make("cannot remove %s: %s", path.c_str(), std::strerror(errno));
  return Error::none();
}

std::vector<std::string> Segment::list_names() {
  std::vector<std::string> names;
  DIR* d = ::opendir(kFolder);
  if (d == nullptr) return names;
  const std::size_t prefix = std::strlen(kPrefix);
  while (const dirent* e = ::readdir(d))
    if (std::strncmp(e->d_name, kPrefix, prefix) == 0) names.emplace_back(e->d_name + prefix);
  ::closedir(d);
  std::sort(names.begin(), names.end());
  return names;
}

const ShmRegion* Segment::find(std::string_view name) const {
  const ShmHeader& h = header();
  for (u32 i = 0; i < h.n_regions && i < kShmMaxRegions; ++i)
    if (name == h.regions[i].name) return &h.regions[i];
  return nullptr;
}

u8* Segment::region(std::string_view name, u64* bytes) const {
  const ShmRegion* r = find(name);
  if (bytes != nullptr) *bytes = r != nullptr ? r->bytes : 0;
  return r != nullptr ? base_ + r->offset : nullptr;
}

namespace {
// The time's low half is the stamp: whoever kills needs nothing but one store. Two kills look
// alike only when a whole multiple of 4.29 s, to the nanosecond, lies between them.
u64 kill_word_of(KillLevel level, TimeNs now) { return static_cast<u64>(now) << 32 | static_cast<u32>(level); }
}  // namespace

void Segment::set_kill_level(KillLevel level, TimeNs now) {
  ShmHeader& h = header();
  store_relaxed(h.kill_ns, now);
  store_relaxed(h.kill_pid, static_cast<i32>(::getpid()));
  store_release(h.kill_word, kill_word_of(level, now));
}

bool Segment::lift_kill(u64 seen, TimeNs now) {
  ShmHeader& h = header();
  if (!compare_exchange(h.kill_word, seen, kill_word_of(KillLevel::kRun, now))) return false;
  store_relaxed(h.kill_ns, now);
  store_relaxed(h.kill_pid, static_cast<i32>(::getpid()));
  return true;
}

Liveness Segment::owner_liveness() const { return liveness({header().pid, header().start_ticks}); }

bool Segment::superseded() const { return fd_ >= 0 && !same_file(fd_, path_of(name_).c_str()); }

void Segment::close(bool remove_name) {
  if (base_ == nullptr) return;
  // Only our own name: after a takeover it leads to somebody else's segment.
  if (remove_name && owner_ && fd_ >= 0 && !superseded()) ::unlink(path_of(name_).c_str());
  ::munmap(base_, bytes_);
  if (fd_ >= 0) ::close(fd_);
  base_ = nullptr;
  bytes_ = 0;
  fd_ = -1;
  writable_ = owner_ = false;
  name_.clear();
}

}  // namespace peregrine
