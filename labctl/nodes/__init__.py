"""What nodes are and can do: fingerprints, and the rules that `labctl check` holds against them."""
