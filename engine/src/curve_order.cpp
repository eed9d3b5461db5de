#include "rtmdx/curve_order.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>

#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t least_block = 16384;

struct Key {
  std::uint64_t code;
  std::size_t at;
};

constexpr int key_bits = 22;  // of each axis
constexpr int digit_bits = 11;
constexpr std::size_t digits = std::size_t{1} << digit_bits;
constexpr int first_digit = 2 * key_bits - digit_bits;  // where the highest begins

std::uint64_t spread(std::uint64_t v) {
  v = (v | (v << 16)) & 0x0000FFFF0000FFFFull;
  v = (v | (v << 8)) & 0x00FF00FF00FF00FFull;
  v = (v | (v << 4)) & 0x0F0F0F0F0F0F0F0Full;
  v = (v | (v << 2)) & 0x3333333333333333ull;
  return (v | (v << 1)) & 0x5555555555555555ull;
}

// The curve's digits are spent where the grid is: one stray coordinate far away must not put all others in one place.
void near_grid(double length, double& low, double& high) {
  constexpr double room = 16.0;  // grid lengths on either side
  const double from = std::max(low, -room * length), to = std::min(high, (1.0 + room) * length);
  if (from < to) low = from, high = to;
}

// Sorts keys whose highest digit is the same by the others, lowest first; equal codes keep their order.
void radix_sort(Key* keys, std::size_t n, std::vector<Key>& room, Poll& poll) {
  if (room.size() < n) room.resize(n);
  Key* from = keys;
  Key* to = room.data();
  for (int shift = 0; shift < first_digit; shift += digit_bits) {
    poll();
    std::array<std::size_t, digits + 1> start{};
    for (std::size_t i = 0; i < n; ++i) ++start[((from[i].code >> shift) & (digits - 1)) + 1];
    if (std::find(start.begin(), start.end(), n) != start.end()) continue;  // all have this digit
    for (std::size_t b = 0; b < digits; ++b) start[b + 1] += start[b];
    for (std::size_t i = 0; i < n; ++i) to[start[(from[i].code >> shift) & (digits - 1)]++] = from[i];
    std::swap(from, to);
  }
  if (from != keys) std::copy_n(from, n, keys);
}

// Drops the twins among sorted keys; returns how many are left.
std::size_t drop_twins(const std::vector<Placed>& places, Key* keys, std::size_t n, Poll& poll) {
  const auto tie = [&](const Key& k) {
    const Placed& p = places[k.at];
    return std::make_tuple(p.a.x, p.a.y, p.b.x, p.b.y);
  };
  std::size_t compared = 0, kept = 0;
  for (std::size_t i = 0; i < n;) {
    std::size_t end = i + 1;
    while (end < n && keys[end].code == keys[i].code) ++end;
    if (end - i > 1) {
      std::sort(keys + i, keys + end, [&](const Key& p, const Key& q) {
        if (++compared % 65536 == 0) poll();  // millions may share a code
        const auto tp = tie(p), tq = tie(q);
        return tp != tq ? tp < tq : places[p.at].source < places[q.at].source;
      });
    }
    Key last = keys[i];
    keys[kept++] = last;
    for (std::size_t k = i + 1; k < end; ++k) {
      if (tie(keys[k]) == tie(last)) continue;
      last = keys[k];
      keys[kept++] = last;
    }
    i = end;
  }
  return kept;
}

}  // namespace

std::vector<std::size_t> along_curve(const std::vector<Placed>& places, const Grid& grid, const Run& run) {
  const std::size_t n = places.size(), block_places = std::max(least_block, n / 512);
  const std::size_t blocks = (n + block_places - 1) / block_places;
  const auto each_block = [&](const auto& body) {
    parallel_for(blocks, run, [&](std::size_t block, Poll&) {
      body(block, block * block_places, std::min((block + 1) * block_places, n));
    });
  };
  const auto middle = [&](std::size_t i) {
    const Placed& p = places[i];
    return pairs::Place{0.5 * p.a.x + 0.5 * p.b.x, 0.5 * p.a.y + 0.5 * p.b.y};
  };
  double x0 = infinity, y0 = infinity, x1 = -infinity, y1 = -infinity;
  for (std::size_t i = 0; i < n; ++i) {
    const pairs::Place m = middle(i);
    x0 = std::min(x0, m.x);
    y0 = std::min(y0, m.y);
    x1 = std::max(x1, m.x);
    y1 = std::max(y1, m.y);
  }
  const double side = std::max({static_cast<double>(grid.cols) * grid.dx, static_cast<double>(grid.rows) * grid.dy, grid.dx});
  near_grid(side, x0, x1);
  near_grid(side, y0, y1);
  const double extent = std::max(x1 - x0, y1 - y0);
  const double scale = extent > 0.0 ? static_cast<double>((1 << key_bits) - 1) / extent : 0.0;

  // Codes, and how many have which highest digit.
  std::vector<Key> found(n), keys(n);
  std::vector<std::size_t> start(blocks * digits, 0);
  each_block([&](std::size_t block, std::size_t first, std::size_t last) {
    std::size_t* const count = start.data() + block * digits;
    for (std::size_t i = first; i < last; ++i) {
      const pairs::Place m = middle(i);
      const double x = std::clamp(m.x, x0, x1), y = std::clamp(m.y, y0, y1);
      const std::uint64_t code = spread(static_cast<std::uint64_t>((x - x0) * scale)) |
                                 (spread(static_cast<std::uint64_t>((y - y0) * scale)) << 1);
      found[i] = {code, i};
      ++count[code >> first_digit];
    }
  });
  std::vector<std::size_t> bucket(digits + 1, 0);
  for (std::size_t d = 0, before = 0; d < digits; ++d) {
    for (std::size_t block = 0; block < blocks; ++block) {
      const std::size_t here = start[block * digits + d];
      start[block * digits + d] = before;
      before += here;
    }
    bucket[d + 1] = before;
  }
  each_block([&](std::size_t block, std::size_t first, std::size_t last) {
    std::size_t* const next = start.data() + block * digits;
    for (std::size_t i = first; i < last; ++i) keys[next[found[i].code >> first_digit]++] = found[i];
  });
  std::vector<Key>().swap(found);

  // Each highest digit by itself.
  const std::size_t together = n <= least_block ? digits : 32;  // few are not worth a thread
  std::vector<std::size_t> kept(digits);
  parallel_for(digits / together, run, [&](std::size_t block, Poll& poll) {
    std::vector<Key> room;
    for (std::size_t d = block * together; d < (block + 1) * together; ++d) {
      Key* const first = keys.data() + bucket[d];
      const std::size_t size = bucket[d + 1] - bucket[d];
      poll();
      if (size > 1024) {
        radix_sort(first, size, room, poll);
      } else {
        std::sort(first, first + size,
                  [](const Key& p, const Key& q) { return p.code != q.code ? p.code < q.code : p.at < q.at; });
      }
      kept[d] = drop_twins(places, first, size, poll);
    }
  });
  std::vector<std::size_t> order;
  order.reserve(n);
  for (std::size_t d = 0; d < digits; ++d) {
    for (std::size_t i = 0; i < kept[d]; ++i) order.push_back(keys[bucket[d] + i].at);
  }
  return order;
}

}  // namespace rtmdx
