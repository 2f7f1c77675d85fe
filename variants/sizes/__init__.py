"""Networks made for smaller images than they came for."""
