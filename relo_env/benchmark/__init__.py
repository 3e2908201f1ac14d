"""Benchmark any tracker on any data set: run, evaluate, compare, report."""
