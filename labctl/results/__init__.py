"""What the samples of a run say: statistics, comparisons, summary, report."""
