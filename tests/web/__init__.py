"""The web side, over real HTTP: what recipients and operators meet."""
