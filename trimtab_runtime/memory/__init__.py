"""The semantic memory of a plan."""
