"""From measured candidates to the plan to ship: rules, evaluation, choice."""
