"""Attribution: whether a hit was made by a person, on recorded traces."""
