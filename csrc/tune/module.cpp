// The tuning module, for Python (benchmarks/tune.py): the operations of one kind of device, compiled again with choices
// that can be set. While it serves, calls of the package reach this copy. Never part of a wheel.

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "serve.h"
#include "tune/kernels.h"
#include "tuned.h"

namespace rpstn {
namespace {

struct Choices {
  std::mutex mutex;
  std::map<std::string, int64_t> set;
  std::map<std::string, std::pair<int64_t, int64_t>> asked;  // what would have been chosen, and what was
};

Choices& choices() {
  static Choices all;
  return all;
}

// Registered over the library's own; nothing where it does not serve. Never destroyed with the process: the dispatcher
// may be gone by then.
std::unique_ptr<torch::Library>& serving() {
  static auto* library = new std::unique_ptr<torch::Library>;
  return *library;
}

void serve(bool begin) {
  serving().reset();
  if (!begin) return;
  serving() = std::make_unique<torch::Library>(
      torch::Library::IMPL, "rpstn_ext", c10::DispatchKey::RPSTN_TUNE_KEY, __FILE__, __LINE__);
  serve_all(*serving());
}

void choose(const std::map<std::string, int64_t>& values) {
  const std::lock_guard<std::mutex> lock(choices().mutex);
  choices().set = values;
  choices().asked.clear();
}

std::map<std::string, std::pair<int64_t, int64_t>> asked() {
  const std::lock_guard<std::mutex> lock(choices().mutex);
  return choices().asked;
}

}  // namespace

int64_t tuned_number(const char* name, int64_t usual) {
  const std::lock_guard<std::mutex> lock(choices().mutex);
  const auto found = choices().set.find(name);
  const int64_t value = found == choices().set.end() ? usual : found->second;
  choices().asked[name] = {usual, value};
  return value;
}

}  // namespace rpstn

PYBIND11_MODULE(RPSTN_TUNE_NAME, m) {
  m.doc() = "Kernels whose choices can be set; see benchmarks/tune.py.";
  m.def("serve", &rpstn::serve, pybind11::arg("begin"), "Calls of the package reach this copy from now on, or no longer.");
  m.def("choose", &rpstn::choose, pybind11::arg("values"), "Sets these choices, and no others; forgets what was asked.");
  m.def("asked", &rpstn::asked, "Choices that calls have asked for since, each with the usual value and the one taken.");
  m.def("kernels", &rpstn::kernels, "What is known of the kernels.");
}
