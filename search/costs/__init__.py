"""Latency, memory and energy of plans, from what was measured of their parts."""
