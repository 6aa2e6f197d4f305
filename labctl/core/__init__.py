"""What every room uses: errors, records, paths, scratch directories, tables. Knows nothing of benchmarks."""
