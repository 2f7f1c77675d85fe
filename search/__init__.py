"""Plans: their space, their replay, conservative estimates, fronts."""
