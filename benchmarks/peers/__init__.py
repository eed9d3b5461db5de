"""Peers of the benchmarks: the data they are given, and processes that fit it in R or in another Python."""
