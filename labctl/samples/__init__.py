"""From the raw files of one measurement to a sample: window, CPU, quantities, validity."""
