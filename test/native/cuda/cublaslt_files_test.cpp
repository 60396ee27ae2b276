#include "cuda/cublaslt_files.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "temporary_folder.hpp"

namespace block_attention::cuda {
namespace {

// An environment in which nothing is found, until a test adds to it. What the machine itself has
// installed may be among the files, behind those of the test.
class CublasLtFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"VIRTUAL_ENV", "CONDA_PREFIX", "HOME", "PATH", "CUDA_HOME", "CUDA_PATH"}) {
      const char* value = std::getenv(name);
      before_[name] = value == nullptr ? std::nullopt : std::optional<std::string>(value);
      unsetenv(name);
    }
  }
  void TearDown() override {
    for (const auto& [name, value] : before_) {
      if (value) {
        setenv(name.c_str(), value->c_str(), 1);
      } else {
        unsetenv(name.c_str());
      }
    }
  }

  std::string at(const std::string& name) const { return folder_.path(name); }
  std::string add(const std::string& name) const {
    const std::filesystem::path path = at(name);
    std::filesystem::create_directories(path.parent_path());
    test::write_file(path, "");
    return path;
  }
  std::string add_python(const std::string& name) const {
    std::filesystem::path path = add(name);
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path.parent_path();
  }
  // Those of the test.
  std::vector<std::string> files() const {
    std::vector<std::string> all = cublaslt_files();
    std::erase_if(all, [&](const std::string& file) { return !file.starts_with(at("")); });
    return all;
  }

 private:
  test::TemporaryFolder folder_;
  std::map<std::string, std::optional<std::string>> before_;
};

TEST_F(CublasLtFilesTest, AreThoseOfTheEnvironmentBeforeThoseOfTheUserAndOfToolkits) {
  const std::string toolkit = add("cuda/lib64/libcublasLt.so.13");
  const std::string user =
      add("home/.local/lib/python3.9/site-packages/nvidia/cublas/lib/libcublasLt.so.12");
  const std::string newer =
      add("venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13");
  const std::string older =
      add("venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublasLt.so.12");
  add("venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12");
  EXPECT_TRUE(files().empty());
  setenv("CUDA_HOME", at("cuda").c_str(), 1);
  setenv("HOME", at("home").c_str(), 1);
  setenv("VIRTUAL_ENV", at("venv").c_str(), 1);
  EXPECT_EQ(files(), (std::vector{newer, older, user, toolkit}));
}

TEST_F(CublasLtFilesTest, AreBesideTheFirstPythonOnThePath) {
  const std::string first =
      add("one/lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13");
  add("two/lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13");
  const std::string one = add_python("one/bin/python3");
  const std::string two = add_python("two/bin/python3");
  add("none/bin/python3");  // not executable
  for (const std::string& path :
       {one, one + "/", ":" + one + ":" + two, at("none/bin") + ":" + one + ":"}) {
    setenv("PATH", path.c_str(), 1);
    EXPECT_EQ(files(), std::vector{first}) << path;
  }
}

TEST_F(CublasLtFilesTest, AreNotLookedForBesideAPythonElsewhere) {
  add("one/lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13");
  add_python("one/bin/python3");
  const std::string odd = add_python("one/python3");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(at("one"));
  // The first of them has no bin to be beside of; the others are relative, or nothing.
  for (const std::string& path : {odd, std::string("bin"), std::string(":"), std::string("")}) {
    setenv("PATH", path.c_str(), 1);
    EXPECT_TRUE(files().empty()) << path;
  }
  std::filesystem::current_path(before);
}

}  // namespace
}  // namespace block_attention::cuda
