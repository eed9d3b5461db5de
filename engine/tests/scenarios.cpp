// Ranks of scenarios, their summary and Kendall's tau against brute force; threads.
#include <cstring>
#include <limits>

#include "brute.hpp"
#include "check.hpp"
#include "rtmdx/scenario_ranks.hpp"

using namespace tests;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

Run with(int threads) {
  Run run;
  run.threads = threads;
  return run;
}

// Scores with ties, both signs of zero and gaps.
template <class T>
std::vector<T> scores_of(Random& random, std::size_t n, int kinds) {
  std::vector<T> out(n);
  for (T& v : out) {
    v = kinds > 0 ? static_cast<T>(random.whole(-kinds, kinds)) / T{4} : static_cast<T>(random.uniform(-1e6, 1e6));
    if (v == T{0} && random.whole(0, 1) != 0) v = -v;
    if (random.whole(0, 9) == 0) v = static_cast<T>(nan);
  }
  return out;
}

template <class T>
std::vector<std::uint32_t> brute_twice(const std::vector<T>& score) {
  std::vector<std::uint32_t> out(score.size(), 0);
  for (std::size_t i = 0; i < score.size(); ++i) {
    if (score[i] != score[i]) continue;
    std::uint32_t above = 0, equal = 0;
    for (const T v : score) {
      above += v > score[i] ? 1U : 0U;
      equal += v == score[i] ? 1U : 0U;
    }
    out[i] = 2 * above + equal + 1;
  }
  return out;
}

template <class T>
std::vector<std::uint32_t> sorted_twice(const std::vector<T>& score, std::int64_t k, Edge& edge) {
  std::vector<std::uint32_t> twice(score.size());
  std::vector<double> work(score.size() * work_bytes<T> / sizeof(double) + 1);
  twice_mean_ranks(score.data(), score.size(), k, twice.data(), work.data(), edge, nullptr);
  return twice;
}

template <class T>
void check_one(Random& random) {
  const auto n = static_cast<std::size_t>(random.whole(1, 300));
  const std::vector<T> score = scores_of<T>(random, n, random.whole(0, 1) * random.whole(1, 40));
  const std::vector<std::uint32_t> expected = brute_twice(score);
  std::vector<T> known;
  for (const T v : score) {
    if (v == v) known.push_back(v);
  }
  std::sort(known.begin(), known.end(), std::greater<T>());
  const std::int64_t k = known.empty() ? 1 : random.whole(1, static_cast<int>(known.size()));
  Edge edge;
  CHECK(sorted_twice(score, k, edge) == expected);
  if (!known.empty()) {
    const T last = known[static_cast<std::size_t>(k - 1)];
    std::int64_t above = 0, equal = 0;
    double sum = 0.0;
    for (const T v : known) {
      above += v > last ? 1 : 0;
      equal += v == last ? 1 : 0;
      sum += v > last ? static_cast<double>(v) : 0.0;
    }
    CHECK(edge.best == above + 1 && edge.worst == above + equal);
    CHECK(edge.score == static_cast<double>(last));
    CHECK_NEAR(edge.above, sum, 1e-12, 1e-6);
  }
  for (const std::size_t most : {std::size_t{1}, std::size_t{20}, n + 1}) {
    std::vector<std::uint16_t> number(n);
    std::vector<T> level(most);
    std::vector<std::int64_t> count(most);
    const std::int64_t found = score_levels(score.data(), n, most, number.data(), level.data(), count.data(), nullptr);
    std::size_t distinct = known.size() < n ? 1 : 0;
    for (std::size_t i = 0; i < known.size(); ++i) distinct += i == 0 || known[i] != known[i - 1] ? 1U : 0U;
    CHECK(found == (distinct <= most ? static_cast<std::int64_t>(distinct) : -1));
    if (found < 0) continue;
    std::int64_t all = 0;
    for (std::int64_t l = 0; l < found; ++l) all += count[static_cast<std::size_t>(l)];
    CHECK(all == static_cast<std::int64_t>(n));
    bool right = true;
    for (std::size_t i = 0; i < n; ++i) {
      const T v = level[number[i]];
      right = right && (v == score[i] || (v != v && score[i] != score[i]));
    }
    CHECK(right);
  }
}

}  // namespace

TEST(scenarios_are_ranked_as_by_counting) {
  Random random(71);
  for (int round = 0; round < 200; ++round) {
    check_one<float>(random);
    check_one<double>(random);
  }
  const std::vector<float> score(100000, 1.0F);
  std::vector<std::uint32_t> twice(score.size());
  std::vector<double> work(score.size() * 2);
  std::vector<std::uint16_t> number(score.size());
  std::vector<float> level(8);
  std::vector<std::int64_t> count(8);
  const std::uint8_t stop = 1;
  Edge edge;
  CHECK(twice_mean_ranks(score.data(), score.size(), 1, twice.data(), work.data(), edge, &stop) == stopped);
  CHECK(score_levels(score.data(), score.size(), 8, number.data(), level.data(), count.data(), &stop) == stopped);
}

TEST(ranks_are_summed_up_as_by_sorting) {
  Random random(72);
  for (int round = 0; round < 40; ++round) {
    const auto n = static_cast<std::size_t>(random.whole(1, 40)), cells = static_cast<std::size_t>(random.whole(1, 1300));
    std::vector<std::uint32_t> edge(n), table;
    std::vector<double> share(n);
    std::vector<std::uint8_t> width(n);
    std::vector<std::int64_t> at(n), table_at(n);
    std::vector<std::uint64_t> bytes(n * (cells / 2 + 1));  // a row each, as wide as the widest, aligned
    std::vector<std::vector<std::uint32_t>> ranks(n, std::vector<std::uint32_t>(cells));
    for (std::size_t s = 0; s < n; ++s) {
      const std::uint8_t widths[] = {1, 2, 4};
      width[s] = widths[random.whole(0, 2)];
      at[s] = static_cast<std::int64_t>(8 * s * (cells / 2 + 1));
      table_at[s] = static_cast<std::int64_t>(table.size());
      edge[s] = static_cast<std::uint32_t>(random.whole(2, 60));
      share[s] = random.whole(0, 2) == 0 ? 1.0 : random.uniform(0.1, 0.9);
      const int kinds = random.whole(1, width[s] == 1 ? 200 : 600);
      table.push_back(0);
      for (int i = 1; i < kinds; ++i) table.push_back(static_cast<std::uint32_t>(random.whole(2, 80)));
      auto* row = reinterpret_cast<std::uint8_t*>(bytes.data()) + at[s];
      std::uint32_t value = 0;
      for (std::size_t c = 0; c < cells; ++c) {
        if (random.whole(0, 3) == 0 || c == 0) value = static_cast<std::uint32_t>(random.whole(0, kinds - 1));
        if (width[s] == 1) row[c] = static_cast<std::uint8_t>(value);
        if (width[s] == 2) reinterpret_cast<std::uint16_t*>(row)[c] = static_cast<std::uint16_t>(value);
        if (width[s] == 4) reinterpret_cast<std::uint32_t*>(row)[c] = value == 0 ? 0 : value * 977 + 1;
        ranks[s][c] = width[s] == 4 ? (value == 0 ? 0 : value * 977 + 1)
                                    : table[static_cast<std::size_t>(table_at[s]) + value];
      }
    }
    const RankRows rows{reinterpret_cast<const std::uint8_t*>(bytes.data()), at.data(), width.data(), table.data(),
                        table_at.data(), edge.data(), share.data(), n};
    const std::vector<double> q{0.0, 0.3, 0.5, 1.0};
    std::vector<double> first;
    for (const int threads : {1, 2, 7}) {
      std::vector<std::int32_t> ranked(cells);
      std::vector<double> all((7 + q.size()) * cells);
      double* f = all.data();
      const RankFigures figures{ranked.data(), f, f + cells, f + 2 * cells, f + 3 * cells, f + 7 * cells,
                                f + 4 * cells, f + 5 * cells, f + 6 * cells};
      summarise_ranks(rows, cells, q.data(), q.size(), figures, with(threads));
      if (!first.empty()) {
        CHECK(std::memcmp(first.data(), all.data(), all.size() * sizeof(double)) == 0);
        continue;
      }
      first = all;
      for (std::size_t c = 0; c < cells; ++c) {
        std::vector<double> own;
        double certain = 0.0, expected = 0.0, possible = 0.0;
        for (std::size_t s = 0; s < n; ++s) {
          const std::uint32_t r = ranks[s][c];
          if (r == 0) continue;
          own.push_back(0.5 * r);
          if (r < edge[s] || (r == edge[s] && share[s] == 1.0)) certain += 1.0;
          if (r < edge[s]) expected += 1.0;
          if (r == edge[s]) expected += share[s];
          if (r <= edge[s]) possible += 1.0;
        }
        CHECK(ranked[c] == static_cast<std::int32_t>(own.size()));
        CHECK(figures.certain[c] == certain && figures.possible[c] == possible);
        CHECK_NEAR(figures.expected[c], expected, 1e-12, 1e-12);
        if (own.empty()) {
          CHECK(figures.mean[c] != figures.mean[c]);
          continue;
        }
        std::sort(own.begin(), own.end());
        CHECK(figures.lowest[c] == own.front() && figures.highest[c] == own.back());
        double sum = 0.0, square = 0.0;
        for (const double v : own) sum += v;
        const double m = static_cast<double>(own.size()), mean = sum / m;
        for (const double v : own) square += (v - mean) * (v - mean);
        CHECK_NEAR(figures.mean[c], mean, 1e-12, 0.0);
        if (own.size() > 1) CHECK_NEAR(figures.sd[c], std::sqrt(square / (m - 1.0)), 1e-9, 1e-9);
        for (std::size_t i = 0; i < q.size(); ++i) {
          const double place = (m - 1.0) * q[i];
          const auto low = static_cast<std::size_t>(place);
          const double next = own[std::min(low + 1, own.size() - 1)];
          CHECK_NEAR(figures.quantile[i * cells + c], own[low] + (place - std::floor(place)) * (next - own[low]), 1e-12,
                     0.0);
        }
      }
    }
  }
}

TEST(tau_is_that_of_all_pairs) {
  Random random(73);
  for (int round = 0; round < 60; ++round) {
    const auto n = static_cast<std::size_t>(random.whole(1, 120));
    std::vector<std::uint32_t> ranks(3 * n);
    for (std::uint32_t& r : ranks) r = static_cast<std::uint32_t>(random.whole(0, round % 3 == 0 ? 3 : 400));
    const std::vector<std::int32_t> first{0, 0, 1, 2}, second{1, 2, 2, 2};
    std::vector<double> tau(4);
    kendall_tau(ranks.data(), n, first.data(), second.data(), 4, tau.data(), with(1 + round % 3));
    for (std::size_t p = 0; p < 4; ++p) {
      const std::uint32_t* x = ranks.data() + static_cast<std::size_t>(first[p]) * n;
      const std::uint32_t* y = ranks.data() + static_cast<std::size_t>(second[p]) * n;
      double s = 0.0, in_x = 0.0, in_y = 0.0;
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < i; ++j) {
          if (x[i] == 0 || y[i] == 0 || x[j] == 0 || y[j] == 0) continue;
          const int a = (x[i] > x[j]) - (x[i] < x[j]), b = (y[i] > y[j]) - (y[i] < y[j]);
          s += a * b;
          in_x += a != 0 ? 1.0 : 0.0;
          in_y += b != 0 ? 1.0 : 0.0;
        }
      }
      if (in_x == 0.0 || in_y == 0.0) {
        CHECK(tau[p] != tau[p]);
      } else {
        CHECK_NEAR(tau[p], s / std::sqrt(in_x * in_y), 1e-12, 1e-12);
      }
    }
  }
}
