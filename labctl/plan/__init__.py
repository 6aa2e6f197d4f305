"""From options to a plan: setups, cells, visits, and the inventory of each visit."""
