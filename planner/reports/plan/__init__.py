"""One plan: stages, routes, where its milliseconds went, what slimming did."""
