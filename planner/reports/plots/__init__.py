"""Pictures of fronts, exits and layers."""
