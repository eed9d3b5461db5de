#include "rtmdx/fair.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

// Scores are (1 - t) value / V - t weight / W, t in [0, 1]: t = 0 looks at value alone, t = 1 at weight. The weight of the
// top k falls as t grows. Scores are linear in t, so between two values of t a cell whose lesser end is above the k-th
// largest of the greater ends is in for certain, and one whose greater end is below the k-th largest of the lesser ends is
// out: the cells still open shrink with the interval, and a bisection to the last bit costs a few passes over all.

namespace rtmdx {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr std::size_t near_edge = 150;  // cells on either side of the edge that are tried for exchanges
constexpr int exchanges = 40;

// Neumaier's sum: the error does not grow with the number of terms.
class Sum {
 public:
  void operator+=(double x) {
    const double t = sum_ + x;
    rest_ += std::abs(sum_) >= std::abs(x) ? (sum_ - t) + x : (x - t) + sum_;
    sum_ = t;
  }
  [[nodiscard]] double value() const { return sum_ + rest_; }

 private:
  double sum_ = 0.0, rest_ = 0.0;
};

double kth_largest(std::vector<double>& v, std::size_t k) {
  const auto at = v.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(v.begin(), at, v.end(), [](double a, double b) { return a > b; });
  return *at;
}

class Chooser {
 public:
  Chooser(const double* value, const double* weight, std::size_t n, std::size_t k, double cap)
      : value_(value), weight_(weight), n_(n), k_(k), cap_(cap) {
    double least = inf, most = -inf, lightest = inf, heaviest = -inf;
    for (std::size_t i = 0; i < n; ++i) {
      least = std::min(least, value[i]);
      most = std::max(most, value[i]);
      lightest = std::min(lightest, weight[i]);
      heaviest = std::max(heaviest, weight[i]);
      size_ += std::abs(weight[i]);
    }
    // The same number taken from every value or weight changes no choice of k.
    v0_ = least;
    w0_ = lightest;
    v_ = most > least ? 1.0 / (most - least) : 0.0;
    w_ = heaviest > lightest ? 1.0 / (heaviest - lightest) : 0.0;
    open_.resize(n);
    for (std::size_t i = 0; i < n; ++i) open_[i] = static_cast<std::int32_t>(i);
    wanted_ = k;
  }

  FairChoice run(std::int32_t* chosen) {
    FairChoice out;
    out.least = lightest();
    // What rounding of the sums allows: a cap set to the least itself must be met.
    const double slack = 1e-12 * static_cast<double>(k_) / static_cast<double>(n_) * size_;
    if (out.least > cap_ + slack) return out;
    out.feasible = true;
    cap_ = std::max(cap_, out.least) + slack;  // the bound is of this cap
    double t = 0.0;
    int verdict = judge(0.0);
    if (verdict > 0) {
      double low = 0.0, high = 1.0;
      for (int step = 0; step < 64 && open_.size() > 1; ++step) {
        t = 0.5 * (low + high);
        if (!(t > low && t < high)) break;
        verdict = judge(t);
        if (verdict == 0) break;
        (verdict > 0 ? low : high) = t;
        prune(low, high);
        if (wanted_ == 0 || wanted_ == open_.size()) break;
      }
      if (verdict != 0) t = high;
    }
    settle(t);
    improve(t);
    finish(t, out, chosen);
    return out;
  }

 private:
  [[nodiscard]] double score(std::int32_t i, double t) const {
    return (1.0 - t) * ((value_[i] - v0_) * v_) - t * ((weight_[i] - w0_) * w_);
  }

  double lightest() {
    std::vector<double> w(weight_, weight_ + n_);
    std::nth_element(w.begin(), w.begin() + static_cast<std::ptrdiff_t>(k_ - 1), w.end());
    std::sort(w.begin(), w.begin() + static_cast<std::ptrdiff_t>(k_));
    Sum s;
    for (std::size_t i = 0; i < k_; ++i) s += w[i];
    return s.value();
  }

  // 1: too heavy whichever way ties break, -1: light enough whichever way, 0: ties decide.
  int judge(double t) {
    if (wanted_ == 0 || wanted_ == open_.size()) return weight_in_.value() + all_open() > cap_ ? 1 : -1;
    scores_.resize(open_.size());
    for (std::size_t j = 0; j < open_.size(); ++j) scores_[j] = score(open_[j], t);
    spare_ = scores_;
    const double edge = kth_largest(spare_, wanted_);
    ties_.clear();
    Sum w = weight_in_;
    std::size_t above = 0;
    for (std::size_t j = 0; j < open_.size(); ++j) {
      const double d = scores_[j] - edge;
      if (std::abs(d) <= tie) {
        ties_.push_back(weight_[open_[j]]);
      } else if (d > 0.0) {
        w += weight_[open_[j]];
        ++above;
      }
    }
    const std::size_t some = wanted_ - above;
    std::sort(ties_.begin(), ties_.end());
    Sum light = w, heavy = w;
    for (std::size_t i = 0; i < some; ++i) {
      light += ties_[i];
      heavy += ties_[ties_.size() - 1 - i];
    }
    if (light.value() > cap_) return 1;
    return heavy.value() > cap_ ? 0 : -1;
  }

  [[nodiscard]] double all_open() const {
    Sum s;
    if (wanted_ == 0) return 0.0;
    for (const std::int32_t i : open_) s += weight_[i];
    return s.value();
  }

  void prune(double low, double high) {
    const std::size_t m = open_.size();
    scores_.resize(m);
    spare_.resize(m);
    for (std::size_t j = 0; j < m; ++j) {
      const double a = score(open_[j], low), b = score(open_[j], high);
      scores_[j] = std::min(a, b);
      spare_[j] = std::max(a, b);
    }
    std::vector<double> v = scores_;
    const double floor = kth_largest(v, wanted_) - tie;
    v = spare_;
    const double ceiling = kth_largest(v, wanted_) + tie;
    std::size_t kept = 0;
    for (std::size_t j = 0; j < m; ++j) {
      if (scores_[j] > ceiling) {
        in_.push_back(open_[j]);
        weight_in_ += weight_[open_[j]];
        --wanted_;
      } else if (spare_[j] >= floor) {
        open_[kept++] = open_[j];
      }
    }
    open_.resize(kept);
  }

  // Fills `in_` from the open cells by score, and among those on the edge takes a run of ascending weight that just fits.
  void settle(double t) {
    std::sort(open_.begin(), open_.end(), [&](std::int32_t a, std::int32_t b) {
      const double x = score(a, t), y = score(b, t);
      return x > y || (x == y && a < b);
    });
    std::size_t from = 0, to = open_.size();
    if (wanted_ > 0 && wanted_ < open_.size()) {
      const double edge = score(open_[wanted_ - 1], t);
      while (from < wanted_ && score(open_[from], t) > edge + tie) ++from;
      to = wanted_;
      while (to < open_.size() && score(open_[to], t) >= edge - tie) ++to;
    } else {
      from = wanted_ == 0 ? 0 : open_.size();
      to = from;
    }
    for (std::size_t j = 0; j < from; ++j) take(open_[j]);
    const std::size_t some = wanted_;
    // Nobody can do with fewer: cells beyond the edge tie are left out for certain.
    std::sort(open_.begin() + static_cast<std::ptrdiff_t>(from), open_.begin() + static_cast<std::ptrdiff_t>(to),
              [&](std::int32_t a, std::int32_t b) {
                if (weight_[a] != weight_[b]) return weight_[a] < weight_[b];
                return value_[a] > value_[b] || (value_[a] == value_[b] && a < b);
              });
    // At t = 0 values tie, so lighter is better; elsewhere heavier ties have more value.
    std::size_t start = from;
    if (t > 0.0) {
      Sum w = weight_in_;
      for (std::size_t j = 0; j < some; ++j) w += weight_[open_[from + j]];
      while (start + some < to) {
        Sum next = w;
        next += weight_[open_[start + some]];
        next += -weight_[open_[start]];
        if (next.value() > cap_) break;
        w = next;
        ++start;
      }
    }
    for (std::size_t j = 0; j < some; ++j) take(open_[start + j]);
  }

  void take(std::int32_t i) {
    in_.push_back(i);
    weight_in_ += weight_[i];
    --wanted_;
  }

  // Exchanges one cell for another near the edge while that gains value within the cap.
  void improve(double t) {
    if (t == 0.0 || k_ == n_) return;
    std::vector<char> inside(n_, 0);
    for (const std::int32_t i : in_) inside[static_cast<std::size_t>(i)] = 1;
    std::vector<std::int32_t> low = in_, high;
    high.reserve(n_ - k_);
    for (std::size_t i = 0; i < n_; ++i) {
      if (inside[i] == 0) high.push_back(static_cast<std::int32_t>(i));
    }
    const auto trim = [&](std::vector<std::int32_t>& v, double sign) {
      const auto nearer = [&](std::int32_t a, std::int32_t b) {
        const double x = sign * score(a, t), y = sign * score(b, t);
        return x < y || (x == y && a < b);
      };
      const std::size_t m = std::min(v.size(), near_edge);
      std::partial_sort(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(m), v.end(), nearer);
      v.resize(m);
    };
    trim(low, 1.0);
    trim(high, -1.0);
    Sum w;
    for (const std::int32_t i : in_) w += weight_[i];
    std::vector<std::pair<std::int32_t, std::int32_t>> done;
    for (int step = 0; step < exchanges; ++step) {
      const double room = cap_ - w.value();
      double gain = 0.0;
      std::size_t out = 0, into = 0;
      for (std::size_t a = 0; a < low.size(); ++a) {
        for (std::size_t b = 0; b < high.size(); ++b) {
          const double g = value_[high[b]] - value_[low[a]];
          if (g > gain && weight_[high[b]] - weight_[low[a]] <= room) {
            gain = g;
            out = a;
            into = b;
          }
        }
      }
      if (!(gain > 0.0)) break;
      w += weight_[high[into]];
      w += -weight_[low[out]];
      inside[static_cast<std::size_t>(low[out])] = 0;
      inside[static_cast<std::size_t>(high[into])] = 1;
      std::swap(low[out], high[into]);
    }
    in_.clear();
    for (std::size_t i = 0; i < n_; ++i) {
      if (inside[i] != 0) in_.push_back(static_cast<std::int32_t>(i));
    }
  }

  // The dual function at the multiplier of t: sum of the k largest value - multiplier weight, plus multiplier cap.
  [[nodiscard]] double dual(double multiplier) {
    scores_.resize(n_);
    for (std::size_t i = 0; i < n_; ++i) scores_[i] = value_[i] - multiplier * weight_[i];
    kth_largest(scores_, k_);
    Sum s;
    double size = 0.0;
    for (std::size_t i = 0; i < k_; ++i) {
      s += scores_[i];
      size += std::abs(scores_[i]);
    }
    s += multiplier * cap_;
    size += std::abs(multiplier * cap_);
    // Of each term's rounding, and of the sum's.
    return s.value() + 4.0 * std::numeric_limits<double>::epsilon() * size;
  }

  void finish(double t, FairChoice& out, std::int32_t* chosen) {
    std::sort(in_.begin(), in_.end());
    Sum v, w;
    for (std::size_t j = 0; j < k_; ++j) {
      chosen[j] = in_[j];
      v += value_[in_[j]];
      w += weight_[in_[j]];
    }
    out.value = v.value();
    out.weight = w.value();
    out.multiplier = t > 0.0 && v_ > 0.0 && t < 1.0 ? t * w_ / ((1.0 - t) * v_) : 0.0;
    out.bound = dual(out.multiplier);
    if (t >= 1.0 && v_ > 0.0 && w_ > 0.0) {
      // Only the lightest cells will do: the larger the multiplier the better, as far as digits go.
      for (double m = w_ / v_; m < 1e9 * w_ / v_; m *= 8.0) {
        const double b = dual(m);
        if (b < out.bound) {
          out.bound = b;
          out.multiplier = m;
        }
      }
    }
    out.bound = std::max(out.bound, out.value);
  }

  static constexpr double tie = 1e-14;

  const double* value_;
  const double* weight_;
  std::size_t n_, k_;
  double cap_;
  double v0_, w0_, v_, w_;
  double size_ = 0.0;  // sum of the weights' sizes
  std::vector<std::int32_t> open_, in_;
  std::size_t wanted_;
  Sum weight_in_;
  std::vector<double> scores_, spare_, ties_;
};

}  // namespace

FairChoice choose_fair(const double* value, const double* weight, std::size_t n, std::size_t k, double cap,
                       std::int32_t* chosen) {
  return Chooser(value, weight, n, k, cap).run(chosen);
}

}  // namespace rtmdx
