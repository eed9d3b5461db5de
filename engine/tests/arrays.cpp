// What takes plain arrays, no rasters: exposure of groups, ranks, fair choices, patches. Beside sorting and enumeration.
#include <map>
#include <numeric>

#include "brute.hpp"
#include "check.hpp"
#include "rtmdx/error.hpp"
#include "rtmdx/fair.hpp"
#include "rtmdx/group_exposure.hpp"
#include "rtmdx/patches.hpp"
#include "rtmdx/rank.hpp"

using namespace tests;

namespace {

using Size = std::size_t;
using Values = std::vector<double>;

Run with(int threads) {
  Run run;
  run.threads = threads;
  return run;
}

struct People {
  Values risk;
  std::vector<Values> groups;

  GroupCells view() const {
    GroupCells cells{risk.data(), {}, static_cast<std::int64_t>(risk.size())};
    for (const Values& g : groups) cells.residents.push_back(g.data());
    return cells;
  }
};

// `levels` distinct risks, or about as many as there are cells.
People people_of(Random& random, int n, int n_groups, int levels, double gaps) {
  People p;
  for (int i = 0; i < n; ++i) {
    const double r = levels > 0 ? 0.5 * random.whole(1, levels) : random.uniform(0.1, 9.0);
    p.risk.push_back(random.uniform(0, 1) < gaps ? missing : r);
  }
  p.groups.assign(static_cast<Size>(n_groups), Values(static_cast<Size>(n)));
  for (Values& g : p.groups) {
    for (double& v : g) v = random.whole(0, 3) == 0 ? 0.0 : random.uniform(0, 5);
  }
  return p;
}

// Every figure from one sorted list of cells, the last column all groups together.
void compare(const People& p, const ExposureQuestion& q, const GroupExposure& got) {
  const Size n_groups = p.groups.size();
  std::map<double, std::vector<Size>> order;
  Values total(n_groups + 1, 0.0), absent(n_groups + 1, 0.0);
  std::int64_t known = 0;
  for (Size i = 0; i < p.risk.size(); ++i) {
    const bool here = p.risk[i] == p.risk[i];
    if (here) order[p.risk[i]].push_back(i);
    known += here ? 1 : 0;
    for (Size g = 0; g < n_groups; ++g) {
      (here ? total : absent)[g] += p.groups[g][i];
      (here ? total : absent)[n_groups] += p.groups[g][i];
    }
  }
  CHECK(got.valid && got.with_risk == known);
  if (known == 0) return;
  CHECK(got.lowest == order.begin()->first && got.highest == order.rbegin()->first);
  Values burden(n_groups + 1, 0.0), entropy(n_groups + 1, 0.0), rank(n_groups + 1, 0.0), lorenz(n_groups + 1, 0.0);
  Values unlike_rest(n_groups + 1, 0.0), unlike_other(n_groups + 1, 0.0);
  const auto ref = static_cast<Size>(q.reference);
  double before = 0.0;
  for (const auto& [risk, cells] : order) {
    Values here(n_groups + 1, 0.0);
    for (const Size i : cells) {
      double all = 0.0;
      for (Size g = 0; g < n_groups; ++g) all += p.groups[g][i];
      for (Size g = 0; g < n_groups; ++g) {
        const double rest = total[n_groups] - total[g], mine = total[g] > 0 ? p.groups[g][i] / total[g] : 0.0;
        unlike_rest[g] += std::fabs(mine - (rest > 0 ? (all - p.groups[g][i]) / rest : 0.0));
        unlike_other[g] += std::fabs(mine - (total[ref] > 0 ? p.groups[ref][i] / total[ref] : 0.0));
        here[g] += p.groups[g][i];
      }
      here[n_groups] += all;
    }
    for (Size c = 0; c <= n_groups; ++c) {
      rank[c] += here[c] * (before + 0.5 * here[n_groups]);
      lorenz[c] += here[c] * (burden[c] + 0.5 * here[c] * risk);
      burden[c] += here[c] * risk;
      entropy[c] += here[c] * risk * std::log(risk);
    }
    before += here[n_groups];
  }
  for (Size c = 0; c <= n_groups; ++c) {
    CHECK_NEAR(got.sums.residents[c], total[c], 1e-11, 0.0);
    CHECK_NEAR(got.sums.missing[c], absent[c], 1e-11, 0.0);
    CHECK_NEAR(got.sums.burden[c], burden[c], 1e-11, 0.0);
    CHECK_NEAR(got.sums.entropy[c], entropy[c], 1e-10, 1e-9);
    CHECK_NEAR(got.sums.rank[c], rank[c], 1e-11, 0.0);
    CHECK_NEAR(got.sums.lorenz[c], lorenz[c], 1e-11, 0.0);
    CHECK_NEAR(got.sums.unlike_rest[c], unlike_rest[c], 1e-10, 1e-12);
    CHECK_NEAR(got.sums.unlike_other[c], unlike_other[c], 1e-10, 1e-12);
  }
  for (Size t = 0; t < q.top.size(); ++t) {
    const TopCells& top = got.top[t];
    CHECK(top.cells == std::max<std::int64_t>(1, std::llrint(q.top[t] * static_cast<double>(known))));
    std::int64_t left = top.cells, above = 0;
    auto level = order.rbegin();
    for (; left > static_cast<std::int64_t>(level->second.size()); ++level) {
      left -= static_cast<std::int64_t>(level->second.size());
      above += static_cast<std::int64_t>(level->second.size());
    }
    CHECK(top.threshold == level->first && top.above == above);
    CHECK(top.tied == static_cast<std::int64_t>(level->second.size()));
    for (Size g = 0; g < n_groups; ++g) {
      double sure = 0.0;
      for (auto higher = order.rbegin(); higher != level; ++higher) {
        for (const Size i : higher->second) sure += p.groups[g][i];
      }
      Values equal;
      for (const Size i : level->second) equal.push_back(p.groups[g][i]);
      std::sort(equal.begin(), equal.end());
      CHECK_NEAR(top.residents[g], sure, 1e-10, 1e-10);
      CHECK_NEAR(top.equal[g], std::accumulate(equal.begin(), equal.end(), 0.0), 1e-11, 0.0);
      if (!q.ties) continue;
      CHECK_NEAR(top.least[g], std::accumulate(equal.begin(), equal.begin() + left, sure), 1e-10, 1e-10);
      CHECK_NEAR(top.most[g], std::accumulate(equal.end() - left, equal.end(), sure), 1e-10, 1e-10);
    }
  }
  CHECK(got.curve.cells.back() == known && got.curve.risk.back() == got.highest);
  for (Size k = 0; k < got.curve.cells.size(); ++k) {
    std::int64_t upto = 0;
    double lived = 0.0;
    for (const auto& [risk, cells] : order) {
      if (risk > got.curve.risk[k]) break;
      upto += static_cast<std::int64_t>(cells.size());
      for (const Size i : cells) lived += p.groups[0][i];
    }
    CHECK(got.curve.cells[k] == upto);
    CHECK_NEAR(got.curve.residents[k * (n_groups + 1)], lived, 1e-11, 1e-12);
    if (k > 20) break;
  }
}

bool same(const GroupExposure& a, const GroupExposure& b) {
  bool equal = a.sums.burden == b.sums.burden && a.sums.rank == b.sums.rank && a.sums.lorenz == b.sums.lorenz &&
               a.sums.unlike_rest == b.sums.unlike_rest && a.sums.unlike_other == b.sums.unlike_other &&
               a.curve.residents == b.curve.residents && a.curve.burden == b.curve.burden && a.curve.risk == b.curve.risk;
  for (Size t = 0; t < a.top.size(); ++t) {
    equal = equal && a.top[t].residents == b.top[t].residents && a.top[t].least == b.top[t].least &&
            a.top[t].most == b.top[t].most;
  }
  return equal;
}

}  // namespace

TEST(exposure_is_that_of_a_sorted_list) {
  Random random(51);
  const int groups[] = {1, 2, 3, 4, 5, 7, 8, 15, 17, 31};
  for (int round = 0; round < 60; ++round) {
    const int n = round % 10 == 0 ? 140'000 : random.whole(1, 700);
    const int n_groups = n > 1000 ? random.whole(1, 5) : groups[round % 10];
    const int levels = round % 3 == 0 ? 0 : round % 3 == 1 ? random.whole(1, 40) : 6000;
    const People p = people_of(random, n, n_groups, levels, round % 4 == 0 ? 0.2 : 0.0);
    ExposureQuestion q;
    q.reference = random.whole(0, n_groups - 1);
    q.top = {0.01, 0.1, 0.103, 0.5, 1.0};
    q.points = 50;
    q.ties = round % 7 != 0;
    const GroupExposure got = group_exposure(p.view(), q, with(1));
    compare(p, q, got);
    for (const int threads : {2, 7}) CHECK(same(group_exposure(p.view(), q, with(threads)), got));
  }
}

TEST(exposure_over_many_tied_cells) {
  Random random(52);
  const People p = people_of(random, 200'000, 2, 3, 0.01);
  ExposureQuestion q;
  for (const double top : {0.001, 0.15, 0.3, 0.32, 0.34, 0.6, 0.999}) q.top.push_back(top);
  compare(p, q, group_exposure(p.view(), q, with(2)));
}

TEST(exposure_where_a_sample_misleads) {
  Random random(59);
  People p = people_of(random, 140'000, 2, 5, 0.0);
  for (Size i = 0; i < p.risk.size(); ++i) {
    if (i % 8 != 0) p.risk[i] = random.whole(0, 1) != 0 ? random.uniform(1, 2) : p.risk[i];
  }
  ExposureQuestion q;
  q.top = {0.05, 0.5};
  const GroupExposure got = group_exposure(p.view(), q, with(1));
  compare(p, q, got);
  CHECK(same(group_exposure(p.view(), q, with(7)), got));
}

TEST(exposure_refuses_what_is_no_count) {
  Random random(53);
  for (const int levels : {0, 4}) {
    for (const double bad : {-1.0, missing, inf}) {
      for (const Size at : {Size{0}, Size{6999}}) {
        People p = people_of(random, 7000, 2, levels, 0.1);
        p.groups[1][at] = bad;
        CHECK(!group_exposure(p.view(), {}, with(2)).valid);
      }
    }
    People p = people_of(random, 7000, 2, levels, 0.1);
    p.risk[5000] = inf;
    CHECK(!group_exposure(p.view(), {}, with(2)).valid);
    p = people_of(random, 7000, 2, levels, 0.0);
    p.groups[0][3] = p.groups[0][4] = std::numeric_limits<double>::max();  // a sum too large is no count out of range
    CHECK(group_exposure(p.view(), {}, with(1)).valid);
    p.groups[0].assign(7000, -0.0);
    CHECK(group_exposure(p.view(), {}, with(1)).valid);
  }
  const People none{{}, {{}}};
  CHECK(group_exposure(none.view(), {}, with(1)).with_risk == 0);
  const People blank{{missing, missing}, {{1.0, 2.0}}};
  const GroupExposure got = group_exposure(blank.view(), {}, with(1));
  CHECK(got.valid && got.with_risk == 0 && got.sums.missing[0] == 3.0);
}

TEST(exposure_asks_before_it_takes_memory) {
  Random random(54);
  const People few = people_of(random, 70'000, 2, 9, 0.0), many = people_of(random, 70'000, 2, 0, 0.0);
  ExposureQuestion q;
  q.memory = 2.0 * 70'000 + 1.0;  // what few risks need
  CHECK(group_exposure(few.view(), q, with(1)).valid);
  CHECK_THROWS(group_exposure(many.view(), q, with(1)), OutOfMemory);
  q.memory = 1000.0;
  CHECK_THROWS(group_exposure(few.view(), q, with(1)), OutOfMemory);
  People crowd;
  crowd.groups.assign(32, Values(1, 1.0));
  crowd.risk = {1.0};
  CHECK_THROWS(group_exposure(crowd.view(), {}, with(1)), InvalidArgument);
}

TEST(exposure_stops_when_asked) {
  Random random(55);
  for (const int levels : {0, 9}) {
    const People p = people_of(random, 140'000, 2, levels, 0.0);
    Run run = with(2);
    run.cancel = [] { return true; };
    CHECK_THROWS(group_exposure(p.view(), {}, run), Cancelled);
  }
}

TEST(ranks_are_those_of_counting) {
  Random random(56);
  for (int round = 0; round < 80; ++round) {
    const Size n = static_cast<Size>(round == 0 ? 0 : round % 20 == 0 ? 70'000 : random.whole(1, 300));
    const int levels = random.whole(1, 30);
    Values score(n), amount(n);
    for (double& s : score) s = round % 3 == 0 ? random.uniform(-3, 3) : 0.25 * random.whole(-levels, levels);
    for (double& a : amount) a = random.whole(0, 4);
    std::vector<std::int64_t> k{0, static_cast<std::int64_t>(n / 9), static_cast<std::int64_t>(n / 2),
                                static_cast<std::int64_t>(n)};
    Values low(4), mean(4), high(4);
    std::vector<std::int32_t> best(n), worst(n);
    const Capture capture{k.data(), 4, low.data(), mean.data(), high.data()};
    const std::int64_t distinct = rank_cells(score.data(), amount.data(), n, best.data(), worst.data(), capture, with(2));
    std::map<double, std::vector<Size>, std::greater<>> order;
    for (Size i = 0; i < n; ++i) order[score[i]].push_back(i);
    CHECK(distinct == static_cast<std::int64_t>(order.size()));
    std::int64_t above = 0;
    Values want_low(4, 0.0), want_mean(4, 0.0), want_high(4, 0.0);
    for (const auto& [s, cells] : order) {
      const auto size = static_cast<std::int64_t>(cells.size());
      Values here;
      for (const Size i : cells) {
        CHECK(best[i] == above + 1 && worst[i] == above + size);
        here.push_back(amount[i]);
      }
      std::sort(here.begin(), here.end());
      const double sum = std::accumulate(here.begin(), here.end(), 0.0);
      for (Size c = 0; c < 4; ++c) {
        const std::int64_t taken = std::clamp<std::int64_t>(k[c] - above, 0, size);
        want_low[c] += std::accumulate(here.begin(), here.begin() + taken, 0.0);
        want_high[c] += std::accumulate(here.end() - taken, here.end(), 0.0);
        want_mean[c] += sum * static_cast<double>(taken) / static_cast<double>(size);
      }
      above += size;
    }
    for (Size c = 0; c < 4; ++c) {
      CHECK_NEAR(low[c], want_low[c], 1e-12, 1e-12);
      CHECK_NEAR(mean[c], want_mean[c], 1e-12, 1e-12);
      CHECK_NEAR(high[c], want_high[c], 1e-12, 1e-12);
    }
    for (const int threads : {1, 7}) {
      Values low2(4), mean2(4), high2(4);
      std::vector<std::int32_t> best2(n), worst2(n);
      const Capture again{k.data(), 4, low2.data(), mean2.data(), high2.data()};
      rank_cells(score.data(), amount.data(), n, best2.data(), worst2.data(), again, with(threads));
      CHECK(best2 == best && worst2 == worst && low2 == low && mean2 == mean && high2 == high);
    }
  }
}

TEST(fair_choices_keep_the_cap_and_the_bound) {
  Random random(57);
  for (int round = 0; round < 300; ++round) {
    const int n = random.whole(1, 12), k = random.whole(1, n);
    Values value(static_cast<Size>(n)), weight(static_cast<Size>(n));
    for (double& v : value) v = random.whole(0, 1) != 0 ? random.whole(0, 5) : random.uniform(0, 5);
    for (double& w : weight) w = random.whole(0, 1) != 0 ? random.whole(-2, 4) : random.uniform(-2, 4);
    const double cap = random.uniform(-3, 3.0 * k);
    double best = -inf, least = inf;  // by looking at every choice
    for (int mask = 0; mask < 1 << n; ++mask) {
      int size = 0;
      double v = 0.0, w = 0.0;
      for (int i = 0; i < n; ++i) {
        if ((mask >> i & 1) == 0) continue;
        ++size;
        v += value[static_cast<Size>(i)];
        w += weight[static_cast<Size>(i)];
      }
      if (size != k) continue;
      least = std::min(least, w);
      if (w <= cap) best = std::max(best, v);
    }
    std::vector<std::int32_t> chosen(static_cast<Size>(k), -1);
    const FairChoice got = choose_fair(value.data(), weight.data(), static_cast<Size>(n), static_cast<Size>(k), cap, chosen.data());
    CHECK_NEAR(got.least, least, 1e-12, 1e-9);
    if (std::fabs(least - cap) > 1e-9) CHECK(got.feasible == (least <= cap));
    if (!got.feasible || best == -inf) continue;
    double v = 0.0, w = 0.0;
    for (Size i = 0; i < chosen.size(); ++i) {
      CHECK(chosen[i] >= 0 && chosen[i] < n && (i == 0 || chosen[i - 1] < chosen[i]));
      v += value[static_cast<Size>(chosen[i])];
      w += weight[static_cast<Size>(chosen[i])];
    }
    CHECK_NEAR(got.value, v, 1e-12, 1e-12);
    CHECK_NEAR(got.weight, w, 1e-12, 1e-12);
    CHECK(w <= cap + 1e-9 && v <= best + 1e-9);
    CHECK(got.bound >= best - 1e-9 && got.multiplier >= 0.0);
  }
}

TEST(patches_are_whole_and_paid_for) {
  Random random(58);
  for (int round = 0; round < 120; ++round) {
    const int rows = random.whole(1, 8), cols = random.whole(1, 8), n = rows * cols;
    std::vector<std::int64_t> offsets{0};
    std::vector<std::int32_t> targets;
    for (int i = 0; i < n; ++i) {
      const int r = i / cols, c = i % cols;
      if (r > 0) targets.push_back(i - cols);
      if (c > 0) targets.push_back(i - 1);
      if (c + 1 < cols) targets.push_back(i + 1);
      if (r + 1 < rows) targets.push_back(i + cols);
      offsets.push_back(static_cast<std::int64_t>(targets.size()));
    }
    Values value(static_cast<Size>(n)), cost(static_cast<Size>(n));
    std::vector<std::uint8_t> lock(static_cast<Size>(n), 0);
    for (double& v : value) v = random.uniform(0, 4);
    for (double& c : cost) c = round % 2 == 0 ? 1.0 : random.uniform(0.5, 2.0);
    for (std::uint8_t& l : lock) l = random.whole(0, 9) == 0 ? 2 : 0;
    if (round % 5 == 0) lock[static_cast<Size>(random.whole(0, n - 1))] = 1;
    const Graph graph{offsets.data(), targets.data()};
    const bool spaced = round % 3 == 0;
    const double budget = random.uniform(0.0, 1.0) * n;
    const std::int32_t size = random.whole(1, 4);
    const PatchProblem problem{value.data(), cost.data(), static_cast<Size>(n), budget, graph,
                               spaced ? graph : Graph{nullptr, nullptr}, lock.data(), size, 20};
    std::vector<std::int32_t> owner(static_cast<Size>(n), -7);
    const PatchResult got = grow_patches(problem, owner.data());
    if (got.end != PatchEnd::fine) {
      CHECK(got.unit >= -1 && got.unit < n);
      continue;
    }
    double v = 0.0, c = 0.0;
    for (int i = 0; i < n; ++i) {
      const auto u = static_cast<Size>(i);
      if (lock[u] == 1) CHECK(owner[u] >= 0);
      if (lock[u] == 2) CHECK(owner[u] == -1);
      CHECK(owner[u] >= -1);
      if (owner[u] < 0) continue;
      v += value[u];
      c += cost[u];
      std::vector<int> reached{i};  // everything of the patch from here
      std::vector<char> seen(static_cast<Size>(n), 0);
      seen[u] = 1;
      for (Size at = 0; at < reached.size(); ++at) {
        const auto from = static_cast<Size>(reached[at]);
        for (std::int64_t e = offsets[from]; e < offsets[from + 1]; ++e) {
          const std::int32_t to = targets[static_cast<Size>(e)];
          if (spaced && owner[static_cast<Size>(to)] >= 0) CHECK(owner[static_cast<Size>(to)] == owner[from]);
          if (seen[static_cast<Size>(to)] != 0 || owner[static_cast<Size>(to)] != owner[u]) continue;
          seen[static_cast<Size>(to)] = 1;
          reached.push_back(to);
        }
      }
      CHECK(static_cast<std::int64_t>(reached.size()) == std::count(owner.begin(), owner.end(), owner[u]));
      CHECK(static_cast<std::int32_t>(reached.size()) >= size);
    }
    CHECK_NEAR(got.value, v, 1e-12, 1e-12);
    CHECK_NEAR(got.cost, c, 1e-12, 1e-12);
    CHECK(c <= budget * (1 + 1e-12));
  }
}
