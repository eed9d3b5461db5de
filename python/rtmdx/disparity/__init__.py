"""Who bears the burden: rates and ratios between groups, said with their counts, intervals and benchmarks."""
