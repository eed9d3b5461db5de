#include "rtmdx/patches.hpp"

#include <algorithm>
#include <limits>
#include <queue>

// One queue holds what can be added, by value per cost: a single unit beside a patch, or a new patch grown from a seed by
// its best neighbours. What it says is checked when it comes up, for the ground may be taken by then. Afterwards units that
// are worth less than what could still be added are trimmed where their patch stays whole and large enough, and the budget
// they free is spent anew; a round that gains nothing is undone and ends it.

namespace rtmdx {
namespace {

constexpr std::int32_t none = -1;
constexpr std::size_t search_limit = 4000;  // units visited to see that a patch stays whole

struct Offer {
  double worth;  // value per cost
  std::int32_t unit;
  bool seed;
  bool operator<(const Offer& o) const {
    if (worth != o.worth) return worth < o.worth;
    if (seed != o.seed) return seed;  // growing comes before founding
    return unit > o.unit;
  }
};

class Grower {
 public:
  Grower(const PatchProblem& p, std::int32_t* owner) : p_(p), owner_(owner), mark_(p.n, 0) {
    std::fill(owner, owner + p.n, none);
  }

  PatchResult run() {
    PatchResult out;
    if (!found_locked(out)) return out;
    fill();
    for (int pass = 0; pass < p_.passes; ++pass) {
      const std::vector<std::int32_t> before(owner_, owner_ + p_.n);
      const std::vector<std::int32_t> sizes = sizes_;
      const double value = value_, cost = cost_;
      if (trim(pass) == 0) break;
      fill();
      if (value_ > value) continue;
      std::copy(before.begin(), before.end(), owner_);
      sizes_ = sizes;
      value_ = value;
      cost_ = cost;
      if (pass % 3 == 2) break;
    }
    out.value = value_;
    out.cost = cost_;
    return out;
  }

 private:
  [[nodiscard]] double worth(std::int32_t i) const { return p_.value[i] / p_.cost[i]; }
  [[nodiscard]] bool spaced() const { return p_.near.offsets != nullptr; }

  template <class Visit>
  static void each(const Graph& g, std::int32_t i, const Visit& visit) {
    for (std::int64_t j = g.offsets[i]; j < g.offsets[i + 1]; ++j) visit(g.targets[j]);
  }

  // Whether a unit could belong to the patch, or to a new one (none): free, and not near another patch.
  [[nodiscard]] bool fits(std::int32_t i, std::int32_t patch) const {
    if (owner_[i] != none || p_.lock[i] == 2) return false;
    if (!spaced()) return true;
    bool fine = true;
    each(p_.near, i, [&](std::int32_t j) { fine = fine && (owner_[j] == none || owner_[j] == patch); });
    return fine;
  }

  void add(std::int32_t i, std::int32_t patch) {
    owner_[i] = patch;
    ++sizes_[static_cast<std::size_t>(patch)];
    value_ += p_.value[i];
    cost_ += p_.cost[i];
  }

  void remove(std::int32_t i) {
    --sizes_[static_cast<std::size_t>(owner_[i])];
    owner_[i] = none;
    value_ -= p_.value[i];
    cost_ -= p_.cost[i];
  }

  // Patches without spacing may meet: then they are one. The smaller number stays.
  void join(std::int32_t i) {
    if (spaced() || p_.patch == 1) return;
    std::vector<std::int32_t> todo;
    each(p_.neighbours, i, [&](std::int32_t j) {
      const std::int32_t other = owner_[j];
      if (other == none || other == owner_[i]) return;
      // The smaller of the two takes the larger's number.
      std::int32_t from = other, to = owner_[i], start = j;
      if (sizes_[static_cast<std::size_t>(from)] > sizes_[static_cast<std::size_t>(to)]) {
        std::swap(from, to);
        start = i;
      }
      todo.assign(1, start);
      owner_[start] = to;
      while (!todo.empty()) {
        const std::int32_t u = todo.back();
        todo.pop_back();
        --sizes_[static_cast<std::size_t>(from)];
        ++sizes_[static_cast<std::size_t>(to)];
        each(p_.neighbours, u, [&](std::int32_t v) {
          if (owner_[v] == from) {
            owner_[v] = to;
            todo.push_back(v);
          }
        });
      }
    });
  }

  // The patch of so many units that grows from these by the best neighbour each time; empty where there is no room.
  std::vector<std::int32_t> grown(const std::vector<std::int32_t>& from, std::int32_t patch, double budget) {
    ++stamp_;
    std::vector<std::int32_t> units = from;
    std::priority_queue<Offer> rim;
    double spent = 0.0;
    const auto open = [&](std::int32_t i) {
      each(p_.neighbours, i, [&](std::int32_t j) {
        if (mark_[j] == stamp_) return;
        mark_[j] = stamp_;
        if (fits(j, patch)) rim.push({worth(j), j, false});
      });
    };
    for (const std::int32_t i : from) {
      mark_[i] = stamp_;
      if (owner_[i] == none) spent += p_.cost[i];
    }
    for (const std::int32_t i : from) open(i);
    while (units.size() < static_cast<std::size_t>(p_.patch) && !rim.empty()) {
      const std::int32_t i = rim.top().unit;
      rim.pop();
      if (spent + p_.cost[i] > budget) continue;
      spent += p_.cost[i];
      units.push_back(i);
      open(i);
    }
    if (units.size() < static_cast<std::size_t>(p_.patch) || spent > budget) units.clear();
    return units;
  }

  bool found_locked(PatchResult& out) {
    const auto fail = [&](PatchEnd end, std::int32_t unit) {
      out.end = end;
      out.unit = unit;
      out.cost = cost_;
      return false;
    };
    std::vector<std::vector<std::int32_t>> groups;
    for (std::size_t s = 0; s < p_.n; ++s) {
      const auto start = static_cast<std::int32_t>(s);
      if (p_.lock[s] != 1 || owner_[s] != none) continue;
      const auto patch = static_cast<std::int32_t>(sizes_.size());
      sizes_.push_back(0);
      std::vector<std::int32_t> group{start};
      add(start, patch);
      for (std::size_t at = 0; at < group.size(); ++at) {
        each(p_.neighbours, group[at], [&](std::int32_t j) {
          if (p_.lock[j] != 1 || owner_[j] != none) return;
          add(j, patch);
          group.push_back(j);
        });
      }
      groups.push_back(std::move(group));
    }
    if (spaced()) {
      for (const auto& group : groups) {
        for (const std::int32_t i : group) {
          bool fine = true;
          each(p_.near, i, [&](std::int32_t j) { fine = fine && (owner_[j] == none || owner_[j] == owner_[i]); });
          if (!fine) return fail(PatchEnd::locked_near, i);
        }
      }
    }
    if (cost_ > p_.budget * (1.0 + 1e-12)) return fail(PatchEnd::locked_dear, none);
    for (const auto& group : groups) {
      const std::int32_t patch = owner_[group[0]];
      if (sizes_[static_cast<std::size_t>(patch)] >= p_.patch) continue;
      std::vector<std::int32_t> all;
      collect(group[0], all);
      const auto units = grown(all, patch, std::numeric_limits<double>::infinity());
      if (units.empty()) return fail(PatchEnd::locked_small, group[0]);
      for (const std::int32_t i : units) {
        if (owner_[i] == none) {
          add(i, patch);
          join(i);
        }
      }
    }
    if (cost_ > p_.budget * (1.0 + 1e-12)) return fail(PatchEnd::locked_dear, none);
    return true;
  }

  void collect(std::int32_t start, std::vector<std::int32_t>& all) {
    const std::int32_t patch = owner_[start];
    ++stamp_;
    all.assign(1, start);
    mark_[start] = stamp_;
    for (std::size_t at = 0; at < all.size(); ++at) {
      each(p_.neighbours, all[at], [&](std::int32_t j) {
        if (owner_[j] != patch || mark_[j] == stamp_) return;
        mark_[j] = stamp_;
        all.push_back(j);
      });
    }
  }

  [[nodiscard]] double mean_of(const std::vector<std::int32_t>& units) const {
    double v = 0.0, c = 0.0;
    for (const std::int32_t i : units) {
      v += p_.value[i];
      c += p_.cost[i];
    }
    return v / c;
  }

  // The patch beside a unit that it could be added to, or none.
  [[nodiscard]] std::int32_t beside(std::int32_t i) const {
    std::int32_t found = none;
    each(p_.neighbours, i, [&](std::int32_t j) {
      if (owner_[j] != none && (found == none || owner_[j] < found)) found = owner_[j];
    });
    return found;
  }

  void fill() {
    std::priority_queue<Offer> offers;
    const double room = p_.budget * (1.0 + 1e-12);
    double cheapest = std::numeric_limits<double>::infinity();
    for (std::size_t s = 0; s < p_.n; ++s) {
      const auto i = static_cast<std::int32_t>(s);
      if (owner_[i] != none || p_.lock[i] == 2 || !(p_.value[i] > 0.0)) continue;
      cheapest = std::min(cheapest, p_.cost[i]);
      if (p_.patch > 1 && beside(i) != none) offers.push({worth(i), i, false});
      // A patch is seldom worth much unless its seed is its best unit: until it comes up, the seed's worth stands for it.
      offers.push({worth(i), i, true});
    }
    while (!offers.empty() && cost_ + cheapest <= room) {
      const Offer top = offers.top();
      offers.pop();
      const std::int32_t i = top.unit;
      if (owner_[i] != none || cost_ + p_.cost[i] > room) continue;
      if (!top.seed) {
        const std::int32_t patch = beside(i);
        if (patch == none || !fits(i, patch)) continue;
        add(i, patch);
        join(i);
        open_rim(i, offers);
        continue;
      }
      if (!fits(i, none)) continue;
      const auto units = grown({i}, none, room - cost_);
      if (units.empty()) continue;
      const double mean = mean_of(units);
      if (mean < top.worth) {
        if (mean > 0.0) offers.push({mean, i, true});
        continue;
      }
      const auto patch = static_cast<std::int32_t>(sizes_.size());
      sizes_.push_back(0);
      for (const std::int32_t u : units) add(u, patch);
      for (const std::int32_t u : units) join(u);
      for (const std::int32_t u : units) open_rim(u, offers);
    }
  }

  void open_rim(std::int32_t i, std::priority_queue<Offer>& offers) const {
    if (p_.patch == 1) return;
    each(p_.neighbours, i, [&](std::int32_t j) {
      if (owner_[j] == none && p_.lock[j] != 2 && p_.value[j] > 0.0) offers.push({worth(j), j, false});
    });
  }

  // Whether a patch stays in one piece without the unit: its neighbours in the patch must reach one another.
  bool whole_without(std::int32_t i) {
    const std::int32_t patch = owner_[i];
    std::vector<std::int32_t> ends;
    each(p_.neighbours, i, [&](std::int32_t j) {
      if (owner_[j] == patch) ends.push_back(j);
    });
    if (ends.size() <= 1) return true;
    ++stamp_;
    mark_[i] = stamp_;
    std::vector<std::int32_t> todo{ends[0]};
    mark_[ends[0]] = stamp_;
    std::size_t reached = 1;
    for (std::size_t at = 0; at < todo.size() && at < search_limit; ++at) {
      each(p_.neighbours, todo[at], [&](std::int32_t j) {
        if (owner_[j] != patch || mark_[j] == stamp_) return;
        mark_[j] = stamp_;
        todo.push_back(j);
        if (std::find(ends.begin(), ends.end(), j) != ends.end()) ++reached;
      });
      if (reached == ends.size()) return true;
    }
    return false;
  }

  // Takes out the least worthy units, the fewer the later the pass.
  std::size_t trim(int pass) {
    std::vector<std::int32_t> chosen;
    for (std::size_t s = 0; s < p_.n; ++s) {
      if (owner_[s] != none && p_.lock[s] != 1) chosen.push_back(static_cast<std::int32_t>(s));
    }
    const std::size_t part[] = {5, 10, 20};
    const std::size_t wanted = std::min(chosen.size(), chosen.size() / part[pass % 3] + 1);
    std::sort(chosen.begin(), chosen.end(), [&](std::int32_t a, std::int32_t b) {
      const double x = worth(a), y = worth(b);
      return x < y || (x == y && a < b);
    });
    std::size_t taken = 0;
    for (std::size_t j = 0; j < wanted; ++j) {
      const std::int32_t i = chosen[j];
      if (owner_[i] == none) continue;
      if (sizes_[static_cast<std::size_t>(owner_[i])] > p_.patch && whole_without(i)) {
        remove(i);
        ++taken;
      }
    }
    taken += dissolve();
    return taken;
  }

  // Gives up the patches that are worth least per cost, a tenth of them, unless something in them is locked.
  std::size_t dissolve() {
    std::vector<double> value(sizes_.size(), 0.0), cost(sizes_.size(), 0.0);
    std::vector<char> kept(sizes_.size(), 0);
    for (std::size_t s = 0; s < p_.n; ++s) {
      if (owner_[s] == none) continue;
      const auto o = static_cast<std::size_t>(owner_[s]);
      value[o] += p_.value[s];
      cost[o] += p_.cost[s];
      if (p_.lock[s] == 1) kept[o] = 1;
    }
    std::vector<std::size_t> order;
    for (std::size_t o = 0; o < sizes_.size(); ++o) {
      if (sizes_[o] > 0 && kept[o] == 0) order.push_back(o);
    }
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const double x = value[a] / cost[a], y = value[b] / cost[b];
      return x < y || (x == y && a < b);
    });
    order.resize(order.size() / 10);
    std::vector<char> gone(sizes_.size(), 0);
    for (const std::size_t o : order) gone[o] = 1;
    std::size_t taken = 0;
    for (std::size_t s = 0; s < p_.n; ++s) {
      if (owner_[s] == none || gone[static_cast<std::size_t>(owner_[s])] == 0) continue;
      remove(static_cast<std::int32_t>(s));
      ++taken;
    }
    return taken;
  }

  const PatchProblem& p_;
  std::int32_t* owner_;
  std::vector<std::int32_t> mark_;
  std::int32_t stamp_ = 0;
  std::vector<std::int32_t> sizes_;
  double value_ = 0.0, cost_ = 0.0;
};

}  // namespace

PatchResult grow_patches(const PatchProblem& problem, std::int32_t* owner) { return Grower(problem, owner).run(); }

}  // namespace rtmdx
