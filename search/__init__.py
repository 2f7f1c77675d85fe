"""Plans: their space, their replay, the guarded choice, fronts."""
