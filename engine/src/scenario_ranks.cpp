#include "rtmdx/scenario_ranks.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

// A scenario is ranked by one thread, and scenarios by several. Most terrains have few distinct scores: a small hash
// table finds them in one pass. Others are sorted by their digits.

namespace rtmdx {
namespace {

constexpr std::size_t between_stops = 1 << 16;
constexpr unsigned digit_bits = 11;
constexpr std::size_t digits = std::size_t{1} << digit_bits;

template <class T>
struct Bits;
template <>
struct Bits<float> {
  using type = std::uint32_t;
};
template <>
struct Bits<double> {
  using type = std::uint64_t;
};

// Ascends as the score descends; -0 and 0 are equal.
template <class T>
typename Bits<T>::type key_of(T score) {
  using U = typename Bits<T>::type;
  score += T{0};
  U bits;
  std::memcpy(&bits, &score, sizeof bits);
  constexpr U sign = U{1} << (8 * sizeof(U) - 1);
  return (bits & sign) != 0 ? bits : static_cast<U>(~(bits | sign));
}

template <class T>
T score_of(typename Bits<T>::type key) {
  using U = typename Bits<T>::type;
  constexpr U sign = U{1} << (8 * sizeof(U) - 1);
  const U bits = (key & sign) != 0 ? key : static_cast<U>(~key & ~sign);
  T score;
  std::memcpy(&score, &bits, sizeof score);
  return score;
}

bool ended(StopFlag stop) { return stop != nullptr && *stop != 0; }

}  // namespace

template <class T>
std::int64_t score_levels(const T* score, std::size_t cells, std::size_t most, std::uint16_t* number, T* level,
                          std::int64_t* count, StopFlag stop) {
  using U = typename Bits<T>::type;
  constexpr U empty = 0;           // the key of a NaN that does not occur:
  constexpr U missing = ~U{0};     // all have this one
  std::size_t slots = 64;
  unsigned shift = 58;
  for (; slots < 4 * most; slots *= 2) --shift;
  struct Slot {
    U key;
    std::uint32_t number;
  };
  std::vector<Slot> table(slots, Slot{empty, 0});
  std::vector<std::int64_t> counts(2 * most, 0);  // of even and odd cells: a sum need not wait for the one before
  std::size_t found = 0;
  for (std::size_t from = 0; from < cells; from += between_stops) {
    if (ended(stop)) return stopped;
    const std::size_t to = std::min(cells, from + between_stops);
    for (std::size_t i = from; i < to; ++i) {
      const U key = score[i] == score[i] ? key_of(score[i]) : missing;
      std::size_t at = static_cast<std::size_t>((static_cast<std::uint64_t>(key) * 0x9E3779B97F4A7C15U) >> shift);
      while (table[at].key != key) {
        if (table[at].key == empty) {
          if (found == most) return -1;
          table[at] = {key, static_cast<std::uint32_t>(found)};
          level[found++] = score[i] + T{0};
          break;
        }
        at = (at + 1) & (slots - 1);
      }
      ++counts[2 * table[at].number + (i & 1U)];
      number[i] = static_cast<std::uint16_t>(table[at].number);
    }
  }
  for (std::size_t l = 0; l < found; ++l) count[l] = counts[2 * l] + counts[2 * l + 1];
  return static_cast<std::int64_t>(found);
}

template <class T>
std::int64_t twice_mean_ranks(const T* score, std::size_t cells, std::int64_t k, std::uint32_t* twice, void* work,
                              Edge& edge, StopFlag stop) {
  using U = typename Bits<T>::type;
  struct Entry {
    U key;
    std::uint32_t cell;
  };
  static_assert(2 * sizeof(Entry) == work_bytes<T>);
  edge = {0, 0, 0.0, 0.0};
  constexpr unsigned passes = (8 * sizeof(U) + digit_bits - 1) / digit_bits;
  auto* entries = static_cast<Entry*>(work);
  Entry* spare = entries + cells;
  std::vector<std::array<std::size_t, digits>> ends(passes);
  for (auto& e : ends) e.fill(0);
  std::size_t n = 0;
  for (std::size_t from = 0; from < cells; from += between_stops) {
    if (ended(stop)) return stopped;
    const std::size_t to = std::min(cells, from + between_stops);
    for (std::size_t i = from; i < to; ++i) {
      if (score[i] != score[i]) {
        twice[i] = 0;
        continue;
      }
      const U key = key_of(score[i]);
      entries[n++] = {key, static_cast<std::uint32_t>(i)};
      for (unsigned p = 0; p < passes; ++p) ++ends[p][(key >> (p * digit_bits)) & (digits - 1)];
    }
  }
  for (unsigned p = 0; p < passes; ++p) {
    auto& e = ends[p];
    if (std::find(e.begin(), e.end(), n) != e.end()) continue;  // all share this digit
    std::size_t at = 0;
    for (std::size_t& c : e) {
      const std::size_t here = c;
      c = at;
      at += here;
    }
    for (std::size_t from = 0; from < n; from += between_stops) {
      if (ended(stop)) return stopped;
      const std::size_t to = std::min(n, from + between_stops);
      for (std::size_t i = from; i < to; ++i) {
        spare[e[(entries[i].key >> (p * digit_bits)) & (digits - 1)]++] = entries[i];
      }
    }
    std::swap(entries, spare);
  }
  std::int64_t levels = 0;
  double above = 0.0;
  for (std::size_t i = 0; i < n;) {
    if (ended(stop)) return stopped;
    for (const std::size_t until = std::min(n, i + between_stops); i < until;) {
      std::size_t end = i + 1;
      while (end < n && entries[end].key == entries[i].key) ++end;
      const auto sum = static_cast<std::uint32_t>(i + 1 + end);
      for (std::size_t j = i; j < end; ++j) twice[entries[j].cell] = sum;
      if (edge.best == 0) {
        const auto value = static_cast<double>(score_of<T>(entries[i].key));
        if (static_cast<std::int64_t>(end) >= k) {
          edge = {static_cast<std::int64_t>(i + 1), static_cast<std::int64_t>(end), value, above};
        } else {
          above += value * static_cast<double>(end - i);
        }
      }
      ++levels;
      i = end;
    }
  }
  return levels;
}

template std::int64_t score_levels(const float*, std::size_t, std::size_t, std::uint16_t*, float*, std::int64_t*,
                                   StopFlag);
template std::int64_t score_levels(const double*, std::size_t, std::size_t, std::uint16_t*, double*, std::int64_t*,
                                   StopFlag);
template std::int64_t twice_mean_ranks(const float*, std::size_t, std::int64_t, std::uint32_t*, void*, Edge&,
                                       StopFlag);
template std::int64_t twice_mean_ranks(const double*, std::size_t, std::int64_t, std::uint32_t*, void*, Edge&,
                                       StopFlag);

}  // namespace rtmdx
