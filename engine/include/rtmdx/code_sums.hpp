// Sums over rows of packed codes, four fits at a time.
//
// A row's codes are packed into words; word w of row i has the value words[w * n_rows + i] and, in a table over all
// words, the entry offsets[w] + value. Every table entry and every row hold four numbers, one per fit (a lane). A lane
// never looks at another: its figures are the same whatever rides beside it.
#pragma once

#include <cstdint>

namespace rtmdx {

struct PackedRows {
  const std::uint16_t* words;   // n_words x n_rows
  const std::int32_t* offsets;  // n_words + 1
  std::int64_t n_words, n_rows;
};

// mean[i] = weight[i] exp(sum over words of table); total = sum of mean over rows; everywhere = sum of exposure[i] exp(...).
// mean, weight and both totals have four lanes, exposure one. Sums run in blocks of rows. Where a row with weight has a
// predictor beyond +-700, the lane's total is infinite: exp would overflow, or hold the sum up where it should fall.
void lane_means(const PackedRows& rows, const double* table, const double* weight, const double* exposure, double* mean,
                double* total, double* everywhere);

// mean[i] becomes mean[i] / weight[i], 0 where there is no weight, for n numbers.
void lane_ratios(std::int64_t n, const double* weight, double* mean);

// What the lanes are fitted to: lane f has share[f] * exposure[i] - group[f][i], without the last where group[f] is null.
// Amounts are whole numbers (uint16_t, int32_t or int64_t), so that a row all of which is left out has exactly none left.
template <class Amount>
struct LaneExposure {
  const double* exposure;
  const Amount* group[4];
  double share[4];
};

// out[pattern[i]] += exposure of row i, by lane; whole[pattern[i]] += exposure[i].
template <class Amount>
void lane_exposures(const LaneExposure<Amount>& of, const std::int32_t* pattern, std::int64_t n_rows, std::int64_t n_patterns,
                    double* out, double* whole);

// hist[entry] = sum of weight over the rows that have the entry (four lanes).
void lane_histogram(const PackedRows& rows, const double* weight, double* hist);

// hist[entry] = sum of exposure of row i times value[pattern[i]] over the rows that have the entry (four lanes).
template <class Amount>
void lane_histogram_of(const PackedRows& rows, const std::int32_t* pattern, const double* value,
                       const LaneExposure<Amount>& of, double* hist);

// How words unpack: word w has width[w] blocks. Entry c of word w stands for one code of each of them; the places of these
// codes in a table over the codes of all blocks are place[start[w] + (c - offsets[w]) * width[w]] and the width[w] - 1
// that follow. The codes of word w's blocks are codes[w] .. codes[w + 1] - 1 of that table.
struct Unpacking {
  const std::int32_t* place;
  const std::int64_t* start;
  const std::int32_t* width;
  const std::int32_t* codes;
};

// joint[a][b] += sum of weight over the rows that have codes a and b (four lanes), for the codes a of one word and those
// of it and of the words after it: what is above the diagonal of n_codes^2 sums, once every word has had its turn.
// `scratch` holds largest^2 + n_codes times four doubles, largest the entries of the largest word.
void lane_joint(const PackedRows& rows, const Unpacking& unpacking, const double* weight, std::int64_t word,
                std::int64_t largest, double* scratch, double* joint);

}  // namespace rtmdx
