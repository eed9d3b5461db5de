#include <pybind11/stl.h>

#include <limits>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "rtmdx/group_exposure.hpp"

namespace rtmdx::bind {
namespace {

template <class T>
py::array_t<T> column(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

// One row a point or a rank.
py::array_t<double> rows(const std::vector<double>& values, py::ssize_t columns) {
  return py::array_t<double>({static_cast<py::ssize_t>(values.size()) / columns, columns}, values.data());
}

py::dict run_group_exposure(const Doubles& risk, const std::vector<py::array>& residents, const std::vector<double>& top,
                            std::int64_t reference, std::int64_t points, bool ties, double memory, int threads,
                            const py::object& cancel, const py::object& progress) {
  if (risk.ndim() != 1) throw InvalidArgument("risk must have shape (cells,)");
  GroupCells cells{risk.data(), {}, risk.shape(0)};
  for (const py::array& p : residents) {
    if (!py::isinstance<Doubles>(p) || p.ndim() != 1 || p.shape(0) != risk.shape(0)) {
      throw InvalidArgument("residents must be float64 arrays of shape (cells,)");
    }
    cells.residents.push_back(static_cast<const double*>(p.data()));
  }
  if (reference < 0 || reference >= cells.n_groups()) throw InvalidArgument("no such reference group");
  const ExposureQuestion question{reference, top, points, ties, memory};
  const Call how(threads, cancel, progress);
  GroupExposure found;
  {
    // Safe: the arrays are held by references of this call; the engine touches no Python object, and the cancel check
    // takes the GIL itself.
    const py::gil_scoped_release release;
    found = group_exposure(cells, question, how);
    how.finish();
  }
  py::dict out;
  out["valid"] = found.valid;
  if (!found.valid) return out;
  const std::pair<const char*, const std::vector<double>*> columns[] = {
      {"residents", &found.sums.residents},       {"burden", &found.sums.burden},
      {"entropy", &found.sums.entropy},           {"rank", &found.sums.rank},
      {"lorenz", &found.sums.lorenz},             {"unlike_rest", &found.sums.unlike_rest},
      {"unlike_other", &found.sums.unlike_other}, {"missing", &found.sums.missing},
  };
  for (const auto& [name, values] : columns) out[name] = column(*values);
  const auto width = static_cast<py::ssize_t>(cells.n_groups() + 1);
  std::vector<double> threshold, above_residents, tied_residents, least, most;
  std::vector<std::int64_t> ranks, above, tied;
  for (const TopCells& t : found.top) {
    ranks.push_back(t.cells);
    threshold.push_back(t.threshold);
    for (py::ssize_t c = 0; ties && c + 1 < width; ++c) {
      least.push_back(t.least.empty() ? 0.0 : t.least[static_cast<std::size_t>(c)]);
      most.push_back(t.most.empty() ? 0.0 : t.most[static_cast<std::size_t>(c)]);
    }
    above.push_back(t.above);
    tied.push_back(t.tied);
    for (py::ssize_t c = 0; c < width; ++c) {
      above_residents.push_back(t.residents.empty() ? 0.0 : t.residents[static_cast<std::size_t>(c)]);
      tied_residents.push_back(t.equal.empty() ? 0.0 : t.equal[static_cast<std::size_t>(c)]);
    }
  }
  out["top_cells"] = column(ranks);
  out["top_threshold"] = column(threshold);
  out["top_above"] = column(above);
  out["top_tied"] = column(tied);
  out["top_residents"] = rows(above_residents, width);
  out["top_equal"] = rows(tied_residents, width);
  if (ties) {
    out["top_least"] = rows(least, width - 1);
    out["top_most"] = rows(most, width - 1);
  }
  out["curve_risk"] = column(found.curve.risk);
  out["curve_cells"] = column(found.curve.cells);
  out["curve_residents"] = rows(found.curve.residents, width);
  out["curve_burden"] = rows(found.curve.burden, width);
  out["with_risk"] = found.with_risk;
  out["lowest"] = found.lowest;
  out["highest"] = found.highest;
  return out;
}

}  // namespace

void register_group_exposure(py::module_& m) {
  m.def("group_exposure", &run_group_exposure, py::arg("risk").noconvert(), py::arg("residents").noconvert(),
        py::arg("top"), py::kw_only(), py::arg("reference"), py::arg("points"), py::arg("ties") = true,
        py::arg("memory") = std::numeric_limits<double>::infinity(), py::arg("threads"),
        py::arg("cancel") = py::none(), py::arg("progress") = py::none(),
        "Sums over cells in order of risk, by group of residents; see rtmdx/group_exposure.hpp.");
}

}  // namespace rtmdx::bind
