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

// mean[i] = weight[i] exp(sum over words of table); totals = sums over rows of mean and of rest[i] exp(...).
// Arrays of rows, and both totals, have four lanes. Sums run in blocks of rows.
void lane_means(const PackedRows& rows, const double* table, const double* weight, const double* rest, double* mean,
                double* total, double* rest_total);

// hist[entry] = sum of weight over the rows that have the entry (four lanes).
void lane_histogram(const PackedRows& rows, const double* weight, double* hist);

// hist[entry] = sum of weight[i] share[pattern[i]] over the rows that have the entry (four lanes).
void lane_histogram_of(const PackedRows& rows, const std::int32_t* pattern, const double* share, const double* weight,
                       double* hist);

// How words unpack: word w has width[w] blocks. Entry c of word w stands for one code of each of them; the places of these
// codes in a table over the codes of all blocks are place[start[w] + (c - offsets[w]) * width[w]] and the width[w] - 1
// that follow. The codes of word w's blocks are codes[w] .. codes[w + 1] - 1 of that table.
struct Unpacking {
  const std::int32_t* place;
  const std::int64_t* start;
  const std::int32_t* width;
  const std::int32_t* codes;
};

// joint[a][b] = sum of weight over the rows that have codes a and b (four lanes), for all pairs of codes, n_codes^2 of
// them; symmetric. `scratch` holds largest^2 + n_codes times four doubles, largest the entries of the largest word.
void lane_joint(const PackedRows& rows, const Unpacking& unpacking, const double* weight, std::int64_t largest,
                double* scratch, double* joint);

}  // namespace rtmdx
