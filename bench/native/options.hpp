// Options of the benchmark programs: "--name value" pairs. A wrong one ends the program with exit
// code 2 and says what is wrong.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/dtype.hpp"
#include "cpu/isa.hpp"

namespace block_attention {

// Takes the text of a value; throws std::invalid_argument or std::out_of_range for a wrong one.
using OptionSetter = std::function<void(const std::string& value)>;

template <typename Integer>
OptionSetter set_integer(Integer& to) {
  return [&to](const std::string& value) { to = static_cast<Integer>(std::stoll(value)); };
}

inline OptionSetter set_flag(bool& to) {
  return [&to](const std::string& value) { to = value == "1"; };
}

inline OptionSetter set_text(std::string& to) {
  return [&to](const std::string& value) { to = value; };
}

inline OptionSetter set_isa(Isa& to) {
  return [&to](const std::string& value) {
    for (const Isa isa : supported_isas()) {
      if (value != isa_name(isa)) continue;
      to = isa;
      return;
    }
    throw std::invalid_argument("no such instruction set here");
  };
}

inline OptionSetter set_dtype(DType& to) {
  return [&to](const std::string& value) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      if (value != dtype_name(dtype)) continue;
      to = dtype;
      return;
    }
    throw std::invalid_argument("no such type");
  };
}

// Whole numbers, by commas.
inline OptionSetter set_list(std::vector<int64_t>& to) {
  return [&to](const std::string& value) {
    to.clear();
    for (size_t at = 0; at < value.size();) {
      to.push_back(std::stoll(value.substr(at)));
      const size_t comma = value.find(',', at);
      at = comma == std::string::npos ? value.size() : comma + 1;
    }
  };
}

inline void parse_options(int argc, char** argv,
                          const std::map<std::string, OptionSetter>& setters) {
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    const auto setter = setters.find(name);
    if (setter == setters.end() || i + 1 == argc) {
      std::fprintf(stderr, setter == setters.end() ? "unknown option %s\n" : "%s needs a value\n",
                   name.c_str());
      std::exit(2);
    }
    try {
      setter->second(argv[i + 1]);
    } catch (const std::logic_error& error) {
      std::fprintf(stderr, "%s %s: %s\n", name.c_str(), argv[i + 1], error.what());
      std::exit(2);
    }
  }
}

}  // namespace block_attention
