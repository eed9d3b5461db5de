// How distance is measured.
#pragma once

namespace rtmdx {

enum class Metric {
  euclidean,
  manhattan,  // |dx| + |dy|, along the grid's axes
};

}  // namespace rtmdx
