// What a risk surface is to groups of residents: sums over cells in order of risk.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "rtmdx/cancel.hpp"

namespace rtmdx {

// Risk of n cells, NaN where there is none, and the residents of each group in them, one array a group.
struct GroupCells {
  const double* risk;
  std::vector<const double*> residents;
  std::int64_t n_cells;

  std::int64_t n_groups() const { return static_cast<std::int64_t>(residents.size()); }
};

constexpr std::int64_t most_groups = 31;

// One entry per group, and last for all groups together. "Before" is at lower risk; cells of equal risk come together,
// half of them before.
struct GroupSums {
  std::vector<double> residents;     // sum p
  std::vector<double> burden;        // sum p r
  std::vector<double> entropy;       // sum p r log r
  std::vector<double> rank;          // sum p (residents of all groups before)
  std::vector<double> lorenz;        // sum p (burden of the group before)
  std::vector<double> unlike_rest;   // sum |p / P - q / Q|, q all other groups; 0 for all together
  std::vector<double> unlike_other;  // the same, q the reference group; 0 for all together
  std::vector<double> missing;       // residents of cells without a risk
};

// The cells down to a rank from the top.
struct TopCells {
  std::int64_t cells = 0;                // the rank
  double threshold = 0.0;                // risk of the cell at that rank
  std::int64_t above = 0, tied = 0;      // cells of higher, and of the same risk
  std::vector<double> residents, equal;  // of the cells above, and of those tied
  std::vector<double> least, most;       // of each group, over the choices among the tied cells; if asked for
};

// Cumulative figures, lowest risk first; all but the first two have n_groups + 1 entries a point.
struct RiskCurve {
  std::vector<double> risk;
  std::vector<std::int64_t> cells;
  std::vector<double> residents, burden;
};

struct GroupExposure {
  GroupSums sums;
  std::vector<TopCells> top;
  RiskCurve curve;
  std::int64_t with_risk = 0;
  bool valid = true;  // all residents are numbers >= 0, all risks finite or NaN; if not, nothing else is told
  double lowest = 0.0, highest = 0.0;
};

struct ExposureQuestion {
  std::int64_t reference = 0;
  std::vector<double> top;   // shares of the cells with a risk, above 0, at most 1: at least one cell, rounded
  std::int64_t points = 1;   // the curve has one at least every n / points cells
  bool ties = true;          // find the least and most of the top shares
  double memory = std::numeric_limits<double>::infinity();  // bytes that may be taken; OutOfMemory before more are
};

// Cells of few distinct risks are added up risk by risk. Others are put into buckets by risk, and each bucket is
// sorted by itself. Which way, the buckets and the order of all sums follow from the cells alone, so that the bits do
// not depend on the threads.
GroupExposure group_exposure(const GroupCells& cells, const ExposureQuestion& question, const Run& run);

}  // namespace rtmdx
