// Feeds files (or every file of a folder) to a fuzz target built without libFuzzer. Prints how many; a finding ends
// the process, with the file's name on the last line of standard error.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "fuzz.h"

namespace {

std::vector<std::string> files_of(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return {};
  if (!S_ISDIR(st.st_mode)) return {path};
  std::vector<std::string> names;
  DIR* d = ::opendir(path.c_str());
  while (const dirent* entry = d == nullptr ? nullptr : ::readdir(d)) {
    if (entry->d_name[0] != '.') names.push_back(path + "/" + entry->d_name);
  }
  if (d != nullptr) ::closedir(d);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned files = 0;
  for (int i = 1; i < argc; ++i) {
    for (const std::string& name : files_of(argv[i])) {
      std::FILE* f = std::fopen(name.c_str(), "rb");
      if (f == nullptr) return 2;
      std::vector<std::uint8_t> bytes;
      std::uint8_t chunk[4096];
      for (std::size_t n; (n = std::fread(chunk, 1, sizeof chunk, f)) > 0;) bytes.insert(bytes.end(), chunk, chunk + n);
      std::fclose(f);
      std::fprintf(stderr, "%s\n", name.c_str());
      const peregrine::fuzz::Exact exact{peregrine::Bytes(bytes)};
      LLVMFuzzerTestOneInput(exact.view().data(), exact.view().size());
      ++files;
    }
  }
  std::printf("%u files\n", files);
  return files > 0 ? 0 : 2;
}
