"""Faults of the ground that Waypost stands on, played with real processes."""
