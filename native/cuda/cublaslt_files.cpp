#include "cuda/cublaslt_files.hpp"

#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace block_attention::cuda {
namespace {

constexpr const char* kPackages = "/lib/python3*/site-packages";

std::string variable(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment meanwhile.
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The folder above the bin of the python3 that a shell would run, "" if there is none. A virtual
// environment's is a link to the system's, and the packages are beside the link. Entries that are
// relative mean another folder to whoever changes the working directory: no library comes from one.
std::string python_prefix() {
  const std::string path = variable("PATH");
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const std::string_view folder = std::string_view(path).substr(begin, end - begin);
    begin = end + 1;
    if (folder.empty() || folder.front() != '/') continue;
    if (access((std::string(folder) + "/python3").c_str(), X_OK) != 0) continue;
    const size_t bin = folder.rfind("/bin");
    const bool in_bin = bin != std::string_view::npos &&
                        folder.find_first_not_of('/', bin + 4) == std::string_view::npos;
    return in_bin ? std::string(folder.substr(0, bin)) : "";
  }
  return "";
}

// Patterns of folders that hold the library.
std::vector<std::string> folders() {
  std::vector<std::string> packages;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const std::string prefix = variable(name); !prefix.empty())
      packages.push_back(prefix + kPackages);
  }
  if (const std::string prefix = python_prefix(); !prefix.empty())
    packages.push_back(prefix + kPackages);
  if (const std::string home = variable("HOME"); !home.empty())
    packages.push_back(home + "/.local" + kPackages);
  for (const char* folder :
       {"/usr/local/lib/python3*/site-packages", "/usr/local/lib/python3*/dist-packages",
        "/usr/lib/python3*/site-packages", "/usr/lib/python3/dist-packages"})
    packages.emplace_back(folder);

  std::vector<std::string> all;
  all.reserve(packages.size() + 3);
  for (const std::string& folder : packages) all.push_back(folder + "/nvidia/*/lib");
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const std::string toolkit = variable(name); !toolkit.empty())
      all.push_back(toolkit + "/lib64");
  }
  all.emplace_back("/usr/local/cuda/lib64");
  return all;
}

}  // namespace

std::vector<std::string> cublaslt_files() {
  std::vector<std::string> files;
  for (const std::string& folder : folders()) {
    for (const char* name : kCublasLtNames) {
      glob_t found = {};
      // NOLINTNEXTLINE(concurrency-mt-unsafe): that is for tildes, which are not expanded here.
      if (glob((folder + "/" + name).c_str(), 0, nullptr, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
      }
      globfree(&found);
    }
  }
  return files;
}

}  // namespace block_attention::cuda
