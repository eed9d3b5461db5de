// The boundary cells of a mask, in one pass that gives up once there are too many.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "rtmdx/clones.hpp"
#include "rtmdx/mask_parts.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx::mask {
namespace {

constexpr std::int64_t band_rows = 64;
constexpr std::size_t block = 64;

inline std::uint8_t one(std::uint8_t v) { return v != 0 ? 1 : 0; }

// The first of the whole blocks from c on with a feature, or where they end.
RTMDX_CLONES std::size_t next_block(const std::uint8_t* row, std::size_t c, std::size_t n) {
  for (; c + block <= n; c += block) {
    std::uint64_t words[block / 8];
    std::memcpy(words, row + c, sizeof words);
    std::uint64_t any = 0;
    for (const std::uint64_t w : words) any |= w;
    if (any != 0) break;
  }
  return c;
}

// flags[k] = 1 for the boundary cells of a block that has neighbours on all sides; returns the number of features.
RTMDX_CLONES std::size_t boundary_of(const std::uint8_t* row, const std::uint8_t* above, const std::uint8_t* below,
                                     std::uint8_t* flags) {
  std::uint8_t features = 0;
  for (std::size_t k = 0; k < block; ++k) {
    const std::uint8_t* at = row + k;
    const std::uint8_t self = one(at[0]), around = one(at[-1]) & one(at[1]) & one(above[k]) & one(below[k]);
    features = static_cast<std::uint8_t>(features + self);
    flags[k] = self & (1 ^ around);
  }
  return features;
}

class Scan {
 public:
  Scan(const MaskView& mask, std::size_t limit) : mask_(mask), limit_(limit) {}

  // The boundary cells of a band of rows, unless there turn out to be more than the limit in all.
  void band(std::int64_t r0, std::vector<Cell>& found, Poll& poll) {
    Pieces pieces(poll);
    std::size_t features = 0, told = 0;
    for (std::int64_t r = r0; r < std::min(r0 + band_rows, mask_.rows); ++r) {
      pieces(static_cast<std::size_t>(mask_.cols), [&](std::size_t c0, std::size_t c1) {
        if (found_.load(std::memory_order_relaxed) > limit_) return;
        features += row(r, c0, c1, found);
        found_.fetch_add(found.size() - told, std::memory_order_relaxed);
        told = found.size();
      });
    }
    features_.fetch_add(features, std::memory_order_relaxed);
  }

  std::size_t found() const { return found_.load(); }
  std::size_t features() const { return features_.load(); }

 private:
  std::size_t row(std::int64_t r, std::size_t c0, std::size_t c1, std::vector<Cell>& found) const {
    const auto n = static_cast<std::size_t>(mask_.cols);
    const std::uint8_t* row = mask_.row(r);
    // Beyond the raster everything counts as a feature, as the cell itself does where one is asked about.
    const std::uint8_t* above = r > 0 ? mask_.row(r - 1) : row;
    const std::uint8_t* below = r + 1 < mask_.rows ? mask_.row(r + 1) : row;
    std::size_t features = 0;
    const auto add = [&](std::size_t c) {
      found.push_back({static_cast<std::int32_t>(r), static_cast<std::int32_t>(c)});
    };
    const auto single = [&](std::size_t c) {
      if (row[c] == 0) return;
      ++features;
      const bool left = c == 0 || row[c - 1] != 0, right = c + 1 == n || row[c + 1] != 0;
      if (!(left && right && above[c] != 0 && below[c] != 0)) add(c);
    };
    std::size_t c = c0;
    for (; c < c1 && found.size() <= limit_;) {
      c = next_block(row, c, c1);
      if (c == 0 || c + block >= n || c + block > c1) {  // no neighbours on both sides, or no whole block
        for (const std::size_t end = std::min(c + block, c1); c < end; ++c) single(c);
        continue;
      }
      std::uint8_t flags[block];
      features += boundary_of(row + c, above + c, below + c, flags);
      for (std::size_t k = 0; k < block; k += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, flags + k, sizeof word);
        if (word == 0) continue;
        for (std::size_t j = k; j < k + 8; ++j) {
          if (flags[j] != 0) add(c + j);
        }
      }
      c += block;
    }
    return features;
  }

  const MaskView& mask_;
  std::size_t limit_;
  std::atomic<std::size_t> found_{0}, features_{0};
};

}  // namespace

Boundary scan(const MaskView& mask, std::size_t limit, const Run& run) {
  const auto bands = static_cast<std::size_t>((mask.rows + band_rows - 1) / band_rows);
  Boundary boundary;
  boundary.bands.resize(bands);
  Scan cells(mask, limit);
  parallel_for(bands, run, [&](std::size_t i, Poll& poll) {
    cells.band(static_cast<std::int64_t>(i) * band_rows, boundary.bands[i], poll);
  });
  boundary.few = cells.found() <= limit;
  boundary.size = cells.found();
  boundary.features = cells.features();
  return boundary;
}

}  // namespace rtmdx::mask
