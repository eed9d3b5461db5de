// What both ways to a group exposure share: by sorting the cells, and by a table of few distinct risks.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/group_exposure.hpp"

namespace rtmdx::exposures {

constexpr std::uint16_t no_code = 0xffff;  // of a cell without a risk

// W columns: the groups, zeros, and all groups together in the last.
template <int W>
using Columns = std::array<double, W>;

// What some cells add.
template <int W>
struct Part {
  Columns<W> residents{}, burden{}, entropy{}, rank{}, lorenz{}, unlike_rest{}, unlike_other{};
};

template <int W>
struct Scales {
  Columns<W> own{}, rest{};  // 1 / residents of the group, and of all others; 0 where there are none
  std::int64_t reference = 0;
};

template <int W>
void add(Columns<W>& to, const Columns<W>& more) {
  for (std::size_t c = 0; c < W; ++c) to[c] += more[c];
}

// Columns as they are told: the groups, then all together.
template <int W>
void push_columns(std::vector<double>& to, const Columns<W>& from, std::int64_t n_groups) {
  to.insert(to.end(), from.begin(), from.begin() + n_groups);
  to.push_back(from[W - 1]);
}

template <int W>
Scales<W> scales_of(const Columns<W>& total, std::int64_t reference) {
  Scales<W> scales;
  scales.reference = reference;
  for (std::size_t c = 0; c < W; ++c) {
    const double rest = total[W - 1] - total[c];
    scales.own[c] = total[c] > 0.0 ? 1.0 / total[c] : 0.0;
    scales.rest[c] = rest > 0.0 ? 1.0 / rest : 0.0;
  }
  return scales;
}

// The cells of one risk come into the order: `run` their residents, `before` those at lower risk.
template <int W>
[[gnu::always_inline]] inline void add_run(Part<W>& p, const double* run, double risk, double before) {
  const double log_risk = risk > 0.0 ? std::log(risk) : 0.0;
  const double middle = before + 0.5 * run[W - 1];
  for (int c = 0; c < W; ++c) {
    const auto k = static_cast<std::size_t>(c);
    const double borne = run[c] * risk;
    p.rank[k] += run[c] * middle;
    p.lorenz[k] += run[c] * (p.burden[k] + 0.5 * borne);
    p.residents[k] += run[c];
    p.burden[k] += borne;
    p.entropy[k] += borne * log_risk;
  }
}

template <int W>
void tell_sums(const Part<W>& sum, const Columns<W>& missing, std::int64_t n_groups, GroupSums& out) {
  push_columns<W>(out.residents, sum.residents, n_groups);
  push_columns<W>(out.burden, sum.burden, n_groups);
  push_columns<W>(out.entropy, sum.entropy, n_groups);
  push_columns<W>(out.rank, sum.rank, n_groups);
  push_columns<W>(out.lorenz, sum.lorenz, n_groups);
  push_columns<W>(out.unlike_rest, sum.unlike_rest, n_groups);
  push_columns<W>(out.unlike_other, sum.unlike_other, n_groups);
  push_columns<W>(out.missing, missing, n_groups);
}

// Ranks of the shares among `known` cells.
std::vector<TopCells> ranks_of(const std::vector<double>& top, std::int64_t known);

// Residents of the cells of one risk, among which some top share has to choose: n of each group, group by group.
struct TiedCells {
  double risk;
  std::int64_t n;
  std::unique_ptr<double[]> residents;
};

// Fills in the least and most of each group that the choices among tied cells allow.
void bound_ties(std::vector<TopCells>& top, const std::vector<TiedCells>& tied, std::int64_t n_groups, const Run& run);

// The part of a top that its border's ties leave open.
inline bool is_open(const TopCells& top) {
  const std::int64_t taken = top.cells - top.above;
  return top.tied > 0 && taken < top.tied;
}

// Throws OutOfMemory with the figures when more is needed than the question allows.
void require_memory(double bytes, const GroupCells& cells, const ExposureQuestion& question);

// Computes everything where there are at most `most_distinct` different risks; false where there are more. That depends
// on the cells alone.
constexpr std::size_t most_distinct = 4096;

template <int W>
bool few_risks(const GroupCells& cells, const ExposureQuestion& question, const Run& run, GroupExposure& out);

}  // namespace rtmdx::exposures
