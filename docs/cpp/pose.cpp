// Joints of a person in a video, without Python: START takes the first frame, STEP every other.
//
//   pose LIBRARY START STEP FRAME.ppm...
//
// LIBRARY holds the compiled operations, rpstn_ext/_C.so; START and STEP are what rpstn export --format aoti writes.
// Frames are binary PPMs of the network's size. Prints x and y in their pixels, and the height of the peak there.

#include <dlfcn.h>

#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/max.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

using Package = torch::inductor::AOTIModelPackageLoader;

// What torch says goes on with a stack.
std::string first_line(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

Package open_package(const std::string& path) {
  try {
    return Package(path);
  } catch (const std::exception& error) {
    throw std::runtime_error(path + ": expected a package of rpstn export --format aoti: " + first_line(error));
  }
}

// [1, 3, height, width]
at::Tensor read_frame(const std::string& path, int64_t height, int64_t width) {
  std::ifstream file(path, std::ios::binary);
  std::string kind, columns, rows, brightest;
  file >> kind >> columns >> rows >> brightest;
  auto pixels = at::empty({1, height, width, 3}, at::kByte);
  const auto size = std::to_string(width) + " x " + std::to_string(height);
  if (kind + columns + " x " + rows + brightest != "P6" + size + "255" || file.get() == EOF ||
      !file.read(static_cast<char*>(pixels.data_ptr()), pixels.numel()))
    throw std::runtime_error(path + ": expected a binary PPM of " + size + " pixels, found none");
  return pixels.permute({0, 3, 1, 2}).contiguous();
}

void run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 4) throw std::runtime_error("expected LIBRARY START STEP FRAME.ppm...");
  if (dlopen(arguments[0].c_str(), RTLD_NOW) == nullptr) throw std::runtime_error(dlerror());
  Package start = open_package(arguments[1]), step = open_package(arguments[2]);
  const auto about = start.get_metadata().at("rpstn.json");
  int height = 0, width = 0;
  std::sscanf(about.c_str() + about.find("\"input_size\""), "\"input_size\": [%d, %d]", &width, &height);

  at::Tensor state;
  for (size_t n = 3; n < arguments.size(); ++n) {
    const auto frame = read_frame(arguments[n], height, width);
    const auto outputs = state.defined() ? step.run({frame, state}) : start.run({frame});
    if (outputs.size() != 2) throw std::runtime_error(arguments[1] + ": expected a network with a state, got none");
    state = outputs[1];
    const auto maps = outputs[0][0];  // [K, h, w]
    const auto [peaks, cells] = maps.flatten(1).max(1);
    for (int64_t joint = 0; joint < maps.size(0); ++joint) {
      const auto cell = cells[joint].item<int64_t>();
      const auto x = cell % maps.size(2) * width / maps.size(2), y = cell / maps.size(2) * height / maps.size(1);
      const auto peak = peaks[joint].item<float>();
      std::printf("%s joint %ld: x %ld, y %ld, peak %.5f\n", arguments[n].c_str(), joint, x, y, peak);
    }
  }
}

int main(int count, char** arguments) {
  try {
    run({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "pose: %s\n", first_line(error).c_str());
    return 1;
  }
}
