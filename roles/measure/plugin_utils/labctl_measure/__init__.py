"""The controller's side of measuring: what the action plugin `netperf_sample` consists of."""
